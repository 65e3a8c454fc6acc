//! `PUT /_matrix/federation/v1/send/{txnId}`: events and EDUs of another server.
//!
//! Invariant: a transaction is carried out once and answered the same way each time; it goes on to its end even if the peer
//! hangs up. One bad event or EDU never fails it. Messages to devices come first: one may hold the key to an event beside it,
//! and clients look for it when they see the event.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1sendtxnid>

use std::collections::{BTreeMap, BTreeSet};

use axum::{extract::State, response::Response};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use passeur_protocol::{
    limits::{
        AUTH_EVENTS_MAX, EDUS_PER_TRANSACTION_MAX, PDUS_PER_TRANSACTION_MAX, PREV_EVENTS_MAX,
    },
    signed::event_id_of_unread,
    versions,
};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, ServerName,
    api::{error::ErrorKind, federation::transactions::send_transaction_message::v1},
    room_version_rules::RoomVersionRules,
    serde::Raw,
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{
    app::App,
    http::{
        decode::raw_json,
        error::ApiError,
        origin::{Signed, SignedPieces},
    },
    store::TakeTransaction,
};

/// Longest identifier of a transaction, in bytes.
const ID_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;

/// Rooms of one transaction that are worked on at once.
const ROOMS_AT_ONCE_MAX: usize = 8;

/// What became of each event: nothing, or why it was not taken.
type Outcomes = BTreeMap<OwnedEventId, Option<String>>;

/// Takes a transaction.
///
/// # Errors
/// 400 for one that is larger than allowed; 403 for one in another server's name; 429 or 500 if this server could not
/// take it now, so that the peer tries again.
pub(crate) async fn send_transaction_message(
    State(app): State<App>,
    SignedPieces(signed): SignedPieces<v1::Request>,
) -> Result<Response, ApiError> {
    let Signed { origin, request } = signed;
    check(&origin, &request)?;
    let held = app.drain.hold();
    // A task of its own: a peer that hangs up would otherwise have it carried out in part, again and again.
    let task = tokio::spawn(async move {
        let response = take(&app, &origin, request).await;
        drop(held);
        response
    });
    let response = task.await.map_err(|_| ApiError::internal())??;
    Ok(raw_json(response))
}

fn check(origin: &ServerName, request: &v1::Request) -> Result<(), ApiError> {
    if request.origin != origin {
        return Err(ApiError::forbidden("The transaction names another server"));
    }
    let is_too_large = request.pdus.len() > PDUS_PER_TRANSACTION_MAX
        || request.edus.len() > EDUS_PER_TRANSACTION_MAX
        || request.transaction_id.as_str().len() > ID_BYTES_MAX;
    if is_too_large {
        let message = "The transaction holds more than a transaction may";
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            ErrorKind::TooLarge,
            message,
        ));
    }
    Ok(())
}

async fn take(
    app: &App,
    origin: &OwnedServerName,
    request: v1::Request,
) -> Result<String, ApiError> {
    let _turn = app.turns.take(origin).await;
    let id = request.transaction_id.as_str();
    if let Some(response) = app.store.inbound_response(origin, id).await? {
        return Ok(response);
    }
    let now_ms = app.clock.now_ms();
    let (messages, others): (Vec<_>, Vec<_>) =
        (request.edus.iter().map(Raw::json)).partition(|edu| is_for_devices(edu));
    for edu in messages {
        app.ephemeral.receive(origin, edu, now_ms).await?;
    }
    let outcomes = take_pdus(app, origin, request.pdus).await?;
    for edu in others {
        app.ephemeral.receive(origin, edu, now_ms).await?;
    }
    let pdus: BTreeMap<_, _> = outcomes
        .into_iter()
        .map(|(id, error)| {
            (
                id,
                error.map_or_else(|| json!({}), |error| json!({"error": error})),
            )
        })
        .collect();
    let response = json!({ "pdus": pdus }).to_string();
    let change = TakeTransaction {
        origin: origin.clone(),
        transaction_id: id.to_owned(),
        now_ms,
        response: response.clone(),
    };
    app.store.commit(change).await?;
    Ok(response)
}

/// Whether an EDU brings messages to devices.
fn is_for_devices(edu: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Named {
        edu_type: String,
    }
    serde_json::from_str::<Named>(edu.get())
        .is_ok_and(|named| named.edu_type == "m.direct_to_device")
}

/// Takes the events: rooms beside each other, the events of a room in their order.
async fn take_pdus(
    app: &App,
    origin: &ServerName,
    pdus: Vec<Box<RawValue>>,
) -> Result<Outcomes, ApiError> {
    let mut by_room: BTreeMap<OwnedRoomId, Vec<Box<RawValue>>> = BTreeMap::new();
    for pdu in pdus {
        if let Some(room) = room_of(&pdu) {
            by_room.entry(room).or_default().push(pdu);
        }
    }
    let mut rooms = stream::iter(by_room)
        .map(|(room, pdus)| take_in_room(app, origin, room, pdus))
        .buffer_unordered(ROOMS_AT_ONCE_MAX);
    let mut outcomes = Outcomes::new();
    while let Some(outcome) = rooms.next().await {
        outcomes.extend(outcome?);
    }
    Ok(outcomes)
}

async fn take_in_room(
    app: &App,
    origin: &ServerName,
    room: OwnedRoomId,
    pdus: Vec<Box<RawValue>>,
) -> Result<Outcomes, ApiError> {
    let rules = app.store.room(&room).await?;
    let rules = rules.and_then(|row| versions::rules(&row.version));
    let mut outcomes = Outcomes::new();
    for pdu in predecessors_first(pdus, rules) {
        let taken = app.rooms.receive(origin, &room, &pdu).await;
        match (taken, rules) {
            (Ok(id), _) => {
                outcomes.insert(id, None);
            }
            // What failed here is no answer: it is not remembered, and the peer sends it all again.
            (Err(error), _) if error.is_passing() => return Err(error.into()),
            // Without the room's rules nobody knows the event's identifier, so that there is nothing to name.
            (Err(error), Some(rules)) => {
                // What was taken in another copy was taken.
                if let Some(id) = event_id_of_unread(pdu.get(), rules) {
                    outcomes.entry(id).or_insert(Some(error.told()));
                }
            }
            (Err(_), None) => {}
        }
    }
    Ok(outcomes)
}

/// The events of a room with those first that others name, else in the order in which they came: no order is prescribed, and
/// nobody needs to be asked for what lies beside.
fn predecessors_first(
    pdus: Vec<Box<RawValue>>,
    rules: Option<&RoomVersionRules>,
) -> Vec<Box<RawValue>> {
    #[derive(Default, Deserialize)]
    struct Edges {
        prev_events: Vec<String>,
        auth_events: Vec<String>,
    }
    let Some(rules) = rules.filter(|_| pdus.len() > 1) else {
        return pdus;
    };
    let mut waiting: Vec<_> = pdus
        .into_iter()
        .map(|pdu| {
            let id = event_id_of_unread(pdu.get(), rules);
            let edges = serde_json::from_str::<Edges>(pdu.get()).unwrap_or_default();
            let prev_events = edges.prev_events.into_iter().take(PREV_EVENTS_MAX);
            let auth_events = edges.auth_events.into_iter().take(AUTH_EVENTS_MAX);
            let edges: Vec<String> = prev_events.chain(auth_events).collect();
            (id, edges, pdu)
        })
        .collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ids: BTreeSet<&str> = waiting
            .iter()
            .flat_map(|(id, ..)| id.as_deref())
            .map(EventId::as_str)
            .collect();
        let is_free = |edges: &[String]| !edges.iter().any(|id| ids.contains(id.as_str()));
        // Only a circle leaves none free, and no such event holds.
        let next = waiting.iter().position(|(_, edges, _)| is_free(edges));
        ordered.push(waiting.remove(next.unwrap_or(0)).2);
    }
    ordered
}

/// The room that an event names.
fn room_of(pdu: &RawValue) -> Option<OwnedRoomId> {
    #[derive(Deserialize)]
    struct Named {
        room_id: OwnedRoomId,
    }
    serde_json::from_str::<Named>(pdu.get())
        .ok()
        .map(|named| named.room_id)
}
