//! `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>

use axum::extract::State;
use ruma::{EventId, OwnedEventId, api::client::message::send_message_event::v3};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    rooms::{Draft, Transaction},
};

/// Whoever is suspended may take back what they said, and nothing else.
///
/// # Errors
/// `M_USER_SUSPENDED` if the requester is, and `target` is not an event of theirs.
pub(crate) async fn must_be_active_or_own(
    app: &App,
    requester: &Requester,
    target: Option<&EventId>,
) -> Result<(), ApiError> {
    let target = match target {
        Some(target) => app.store.event(target).await?,
        None => None,
    };
    if target.is_none_or(|target| target.pdu.sender != requester.user_id) {
        app.authenticator.must_be_active(requester).await?;
    }
    Ok(())
}

/// What a redaction redacts, by its content.
fn redacted_by(content: &RawValue) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Content {
        redacts: OwnedEventId,
    }
    let content = serde_json::from_str::<Content>(content.get());
    content.ok().map(|content| content.redacts)
}

/// Sends an event; a repeat of the transaction answers the same event.
pub(crate) async fn send_message_event_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let target = match &*request.event_type.to_string() {
        "m.room.redaction" => redacted_by(request.body.json()),
        _ => None,
    };
    must_be_active_or_own(&app, &requester, target.as_deref()).await?;
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
