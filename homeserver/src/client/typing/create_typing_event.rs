//! `PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid>

use axum::extract::State;
use ruma::api::client::typing::create_typing_event::v3::{self, Typing};
use serde_json::{Map, Value};

use crate::{
    app::App,
    client::reading::ReadableRoom,
    http::{
        decode::{ApiResult, BODY_BYTES_MAX, RumaResponse, decode, path_arguments, read_json},
        error::ApiError,
        requester::Requester,
    },
};

/// How long typing lasts if the client does not say, in ms.
const TIMEOUT_MS_DEFAULT: u64 = 30_000;

/// Notes that the requester types, or does so no longer.
pub(crate) async fn create_typing_event_route(
    State(app): State<App>,
    requester: Requester,
    request: axum::extract::Request,
) -> ApiResult<v3::Response> {
    let request = read(request).await?;
    if request.user_id != requester.user_id {
        return Err(ApiError::forbidden("You cannot type for somebody else"));
    }
    let room = ReadableRoom::joined(&app, &requester, &request.room_id).await?;
    match request.state {
        Typing::Yes(info) => {
            app.typing
                .start(&room.snapshot.room_id, &requester.user_id, info.timeout);
        }
        Typing::No => app.typing.stop(&room.snapshot.room_id, &requester.user_id),
    }
    Ok(RumaResponse(v3::Response::new()))
}

/// Decodes the request, in which only `typing` is required.
async fn read(request: axum::extract::Request) -> Result<v3::Request, ApiError> {
    let (mut parts, body) = request.into_parts();
    let arguments = path_arguments(&mut parts, &()).await?;
    let mut body = read_json(body, BODY_BYTES_MAX).await?;
    if let Ok(mut object) = serde_json::from_slice::<Map<String, Value>>(&body)
        && object.get("typing") == Some(&Value::Bool(true))
        && !object.contains_key("timeout")
    {
        object.insert("timeout".to_owned(), TIMEOUT_MS_DEFAULT.into());
        body = Value::Object(object).to_string().into();
    }
    decode(parts, body, &arguments)
}
