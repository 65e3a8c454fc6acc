//! `PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid>

use axum::extract::State;
use ruma::api::client::redact::redact_event::v3;
use serde_json::{json, value::to_raw_value};

use crate::{
    app::App,
    client::message::send_message_event::must_be_active_or_own,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    rooms::{Draft, Transaction},
};

/// Destroys the body of an event, here and on every server of the room.
pub(crate) async fn redact_event_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    must_be_active_or_own(&app, &requester, Some(&request.event_id)).await?;
    let key = format!(
        "redact {} {} {}",
        request.room_id, request.event_id, request.txn_id
    );
    let content = match &request.reason {
        Some(reason) => json!({ "reason": reason }),
        None => json!({}),
    };
    let content = to_raw_value(&content).map_err(|_| ApiError::internal())?;
    let event_id = app
        .rooms
        .send(Draft {
            room_id: request.room_id,
            sender: requester.user_id,
            kind: "m.room.redaction".into(),
            state_key: None,
            content,
            redacts: Some(request.event_id),
            transaction: Some(Transaction::new(
                &requester.device_id,
                &key,
                &request.txn_id,
            )),
            timestamp_ms: None,
        })
        .await?;
    Ok(RumaResponse(v3::Response::new(event_id)))
}
