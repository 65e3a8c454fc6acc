//! `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>

use axum::extract::State;
use ruma::api::client::message::send_message_event::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    rooms::{Draft, Transaction},
};

/// Sends an event; a repeat of the transaction answers the same event.
pub(crate) async fn send_message_event_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    if request.event_type.to_string() != "m.room.redaction" {
        app.authenticator.must_be_active(&requester).await?;
    }
    let key = format!(
        "send {} {} {}",
        request.room_id, request.event_type, request.txn_id
    );
    let event_id = app
        .rooms
        .send(Draft {
            room_id: request.room_id,
            sender: requester.user_id,
            kind: request.event_type.to_string().into(),
            state_key: None,
            content: request.body.into_json(),
            redacts: None,
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
