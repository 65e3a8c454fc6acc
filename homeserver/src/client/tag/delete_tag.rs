//! `DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3useruseridroomsroomidtagstag>

use axum::extract::State;
use ruma::api::client::tag::delete_tag::v3;

use super::TAG_BYTES_MAX;
use crate::{
    app::App,
    client::config::{ITEM_BYTES_MAX, too_many},
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    store::SetTag,
};

/// Takes a tag from a room.
pub(crate) async fn delete_tag_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    requester.must_be(&request.user_id)?;
    if request.tag.len() > TAG_BYTES_MAX {
        return Err(ApiError::too_large());
    }
    let change = SetTag {
        user_id: requester.user_id,
        room_id: request.room_id,
        tag: request.tag,
        info: None,
        bytes_max: ITEM_BYTES_MAX,
    };
    if app.store.commit(change).await?.output {
        Ok(RumaResponse(v3::Response::new()))
    } else {
        Err(too_many())
    }
}
