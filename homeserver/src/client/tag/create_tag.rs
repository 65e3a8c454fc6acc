//! `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridroomsroomidtagstag>

use axum::extract::{Request, State};
use ruma::api::client::tag::create_tag::v3;
use serde_json::{Map, Value};

use super::TAG_BYTES_MAX;
use crate::{
    app::App,
    client::config::{ITEM_BYTES_MAX, too_many},
    http::{
        decode::{
            ApiResult, BODY_BYTES_MAX, RumaResponse, decode, parse_json, path_arguments, read_json,
        },
        error::ApiError,
        requester::Requester,
    },
    store::SetTag,
};

/// Gives a room a tag.
pub(crate) async fn create_tag_route(
    State(app): State<App>,
    requester: Requester,
    request: Request,
) -> ApiResult<v3::Response> {
    let (mut parts, body) = request.into_parts();
    let arguments = path_arguments(&mut parts, &()).await?;
    let body = read_json(body, BODY_BYTES_MAX).await?;
    // A tag may say more than its order: "Extra data for the tag".
    let info: Map<String, Value> = match body.is_empty() {
        true => Map::new(),
        false => parse_json(&body)?,
    };
    let request: v3::Request = decode(parts, body, &arguments)?;
    requester.must_be(&request.user_id)?;
    if request.tag.len() > TAG_BYTES_MAX {
        return Err(ApiError::too_large());
    }
    let change = SetTag {
        user_id: requester.user_id,
        room_id: request.room_id,
        tag: request.tag,
        info: Some(Value::Object(info)),
        bytes_max: ITEM_BYTES_MAX,
    };
    if app.store.commit(change).await?.output {
        Ok(RumaResponse(v3::Response::new()))
    } else {
        Err(too_many())
    }
}
