//! `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey>

use axum::extract::State;
use passeur_protocol::expiry::Policy;
use ruma::{api::client::state::send_state_event::v3, events::StateEventType};

use crate::{
    app::App,
    http::{
        decode::{
            ApiResult, BODY_BYTES_MAX, Ruma, RumaResponse, decode, path_arguments, read_body,
        },
        error::ApiError,
        requester::{Active, Requester},
    },
    rooms::Draft,
};

/// The room's expiry policy: a wrong one would promise what nobody keeps.
const EXPIRY: &str = "org.passeur.room.expiry";

/// Sets a place of the room's state.
pub(crate) async fn send_state_event_route(
    State(app): State<App>,
    Active(requester): Active,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    set(app, requester, request).await
}

/// The same where the path has no state key: then it is empty.
pub(crate) async fn send_without_state_key_route(
    State(app): State<App>,
    Active(requester): Active,
    request: axum::extract::Request,
) -> ApiResult<v3::Response> {
    let (mut parts, body) = request.into_parts();
    let mut arguments = path_arguments(&mut parts, &()).await?;
    arguments.push(String::new());
    let body = read_body(body, BODY_BYTES_MAX).await?;
    set(app, requester, decode(parts, body, &arguments)?).await
}

async fn set(app: App, requester: Requester, request: v3::Request) -> ApiResult<v3::Response> {
    let content = request.body.into_json();
    if request.event_type == StateEventType::from(EXPIRY) {
        Policy::validate(&content).map_err(|error| ApiError::bad_json(error.to_string()))?;
    }
    let event_id = app
        .rooms
        .send(Draft {
            room_id: request.room_id,
            sender: requester.user_id,
            kind: request.event_type.to_string().into(),
            state_key: Some(request.state_key),
            content,
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        })
        .await?;
    Ok(RumaResponse(v3::Response::new(event_id)))
}
