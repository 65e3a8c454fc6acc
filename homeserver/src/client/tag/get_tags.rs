//! `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridroomsroomidtags>

use axum::{extract::State, response::Response};
use ruma::api::client::tag::get_tags::v3;
use serde_json::{Value, json};

use crate::{
    app::App,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
};

/// Shows the requester's tags of a room.
pub(crate) async fn get_tags_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    requester.must_be(&request.user_id)?;
    let room = Some(&*request.room_id);
    let content = app
        .store
        .account_datum(&requester.user_id, room, "m.tag")
        .await?;
    let content = content.and_then(|content| serde_json::from_str::<Value>(&content).ok());
    let tags = content
        .and_then(|content| content.get("tags").cloned())
        .unwrap_or_else(|| json!({}));
    Ok(raw_json(json!({ "tags": tags }).to_string()))
}
