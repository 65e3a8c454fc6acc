//! A transaction: as stored while it is in flight, and as sent.
//!
//! Invariant: what is sent again is what was stored: the same identifier and the same items. Only an event whose content
//! has expired or was redacted meanwhile is sent without it.

use passeur_protocol::limits::{EDUS_PER_TRANSACTION_MAX, PDUS_PER_TRANSACTION_MAX};
use ruma::{
    OwnedEventId, OwnedTransactionId, ServerName,
    api::federation::transactions::{edu::Edu, send_transaction_message::v1 as send},
    serde::Raw,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{SenderContext, places::Place};
use crate::{
    outbound::{Bounds, RemoteError, SMALL_ANSWER_BYTES_MAX},
    store::StoreError,
};

/// Length of a transaction's identifier.
const ID_CHARS: usize = 22;

/// What a transaction carries.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Items {
    /// The events, by their ids: their bytes are in the store, and may expire there.
    pub(super) pdus: Vec<OwnedEventId>,
    /// What is owed to this server alone, by position: its bytes are in the store, and may expire there.
    pub(super) rows: Vec<i64>,
    /// The rest, as it is sent.
    pub(super) edus: Vec<Box<RawValue>>,
}

impl Items {
    pub(super) fn len(&self) -> usize {
        self.pdus.len() + self.rows.len() + self.edus.len()
    }
}

/// Why a transaction was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransmitError {
    /// The peer was not there, or refused.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The events could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An identifier that this server has not used before.
pub(super) fn new_id(context: &SenderContext) -> String {
    context.rng.token(ID_CHARS)
}

/// Sends a transaction and waits for the peer to take it: "The sending server must wait and retry for a 200 OK response".
/// What it says of single events, if anything, does not matter: it has them.
pub(super) async fn transmit(
    context: &SenderContext,
    server: &ServerName,
    txn_id: &str,
    items: &Items,
    place: Place<'_>,
) -> Result<(), TransmitError> {
    let own = context.remote.server_name().to_owned();
    let id = OwnedTransactionId::from(txn_id);
    let mut request = send::Request::new(id, own, context.clock.timestamp());
    request.pdus = pdus(context, &items.pdus).await?;
    let mut edus = rows(context, server, &items.rows).await?;
    edus.extend(items.edus.iter().cloned());
    request.edus = edus.into_iter().map(Raw::<Edu>::from_json).collect();
    let bounds = Bounds {
        bytes_max: SMALL_ANSWER_BYTES_MAX,
        ..context.remote.large()
    };
    let told = context.remote.tell(server, request, bounds);
    place.make(&*context.clock, told).await?;
    Ok(())
}

/// What is owed to this server alone, without what has expired.
async fn rows(
    context: &SenderContext,
    server: &ServerName,
    positions: &[i64],
) -> Result<Vec<Box<RawValue>>, StoreError> {
    let (Some(first), Some(last)) = (positions.iter().min(), positions.iter().max()) else {
        return Ok(Vec::new());
    };
    let now_ms = context.clock.now_ms();
    let limit = EDUS_PER_TRANSACTION_MAX as u64;
    let found = context
        .store
        .edus_for(server, first - 1, *last, limit, now_ms)
        .await?;
    let wanted = found
        .into_iter()
        .filter(|(position, _)| positions.contains(position));
    Ok(wanted
        .filter_map(|(_, json)| RawValue::from_string(json).ok())
        .collect())
}

/// The events as they are now.
async fn pdus(
    context: &SenderContext,
    ids: &[OwnedEventId],
) -> Result<Vec<Box<RawValue>>, StoreError> {
    let now_ms = context.store.showing_ms(&*context.clock);
    let events = context.store.events(ids).await?;
    let mut pdus = Vec::with_capacity(events.len().min(PDUS_PER_TRANSACTION_MAX));
    for event in &events {
        let json = (context.projection)(event, now_ms)
            .ok()
            .and_then(|json| RawValue::from_string(json).ok());
        match json {
            Some(json) => pdus.push(json),
            None => tracing::error!("an event that is owed to other servers cannot be shown"),
        }
    }
    Ok(pdus)
}
