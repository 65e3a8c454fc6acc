//! To-device messages that still have to be sent.
//!
//! Invariant: a message is recorded in the same changes that used up the Olm ratchet step it was made with, and is deleted only
//! when the server has taken it; it goes out under one transaction id, however often.

use std::collections::BTreeMap;

use ruma::{
    OwnedDeviceId, OwnedTransactionId, OwnedUserId,
    api::client::to_device::send_event_to_device,
    events::{AnyToDeviceEventContent, ToDeviceEventType},
    serde::Raw,
    to_device::DeviceIdOrAllDevices,
};
use serde::{Deserialize, Serialize};

use super::{
    changes::Table,
    error::CryptoError,
    in_flight::InFlight,
    machine::OlmMachine,
    requests::{OutgoingBody, OutgoingRequest},
};

/// So many devices are written to in one request.
const DEVICES_PER_REQUEST_MAX: usize = 100;

/// Contents for devices.
pub(super) type Messages = Vec<(OwnedUserId, OwnedDeviceId, Raw<AnyToDeviceEventContent>)>;

/// A message not yet sent.
#[derive(Serialize, Deserialize)]
pub(super) struct OutgoingRecord {
    pub(super) event_type: String,
    messages: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, Raw<AnyToDeviceEventContent>>>,
    /// When it is not worth sending any more, because the key in it has died.
    pub(super) dead_at_ms: Option<u64>,
}

impl OlmMachine {
    /// Records messages of one type, to be sent.
    pub(super) fn queue_to_device(
        &mut self,
        event_type: &str,
        messages: Messages,
        dead_at_ms: Option<u64>,
    ) -> Result<(), CryptoError> {
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            let mut record = OutgoingRecord {
                event_type: event_type.to_owned(),
                messages: BTreeMap::new(),
                dead_at_ms,
            };
            for (user_id, device_id, content) in messages.by_ref().take(DEVICES_PER_REQUEST_MAX) {
                record
                    .messages
                    .entry(user_id)
                    .or_default()
                    .insert(device_id, content);
            }
            // Zero-padded, so that the records' order is that of their numbers: messages of one Olm session must not overtake
            // each other.
            let key = format!("{:020}", self.meta.next_outgoing);
            self.meta.next_outgoing += 1;
            self.save_meta()?;
            self.pending.put(Table::Outgoing, &key, &record)?;
            self.outgoing.insert(key, record);
        }
        Ok(())
    }

    pub(super) fn due_to_device(&mut self) -> Vec<OutgoingRequest> {
        let under_way = |key: &String| {
            self.in_flight
                .values()
                .any(|request| matches!(request, InFlight::ToDevice(other) if other == key))
        };
        let due: Vec<_> = self
            .outgoing
            .iter()
            .filter(|(key, _)| !under_way(key))
            .map(|(key, record)| (key.clone(), record.request(self.transaction_id(key))))
            .collect();
        due.into_iter()
            .map(|(key, request)| {
                let id = request.txn_id.clone();
                self.in_flight.insert(id.clone(), InFlight::ToDevice(key));
                OutgoingRequest {
                    id,
                    body: OutgoingBody::ToDevice(request),
                }
            })
            .collect()
    }

    /// The same for a record at every attempt; another for another device that should come to have the same access token.
    fn transaction_id(&self, key: &str) -> OwnedTransactionId {
        let device: String = self
            .account
            .curve25519()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(12)
            .collect();
        OwnedTransactionId::from(format!("{device}{key}"))
    }
}

impl OutgoingRecord {
    fn request(&self, txn_id: OwnedTransactionId) -> send_event_to_device::v3::Request {
        let to_device = |(device_id, content): (&OwnedDeviceId, &Raw<AnyToDeviceEventContent>)| {
            (
                DeviceIdOrAllDevices::DeviceId(device_id.clone()),
                content.clone(),
            )
        };
        let messages = self
            .messages
            .iter()
            .map(|(user_id, devices)| (user_id.clone(), devices.iter().map(to_device).collect()))
            .collect();
        send_event_to_device::v3::Request::new_raw(
            ToDeviceEventType::from(self.event_type.as_str()),
            txn_id,
            messages,
        )
    }
}
