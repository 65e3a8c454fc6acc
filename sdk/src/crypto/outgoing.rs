//! To-device messages that still have to be sent.
//!
//! Invariant: a message is recorded in the same changes that used up the Olm ratchet step it was made with, and is deleted only
//! when the server has taken it; it goes out under one transaction id, however often. One that the server refuses for good is tried
//! message by message, so that one device stops no other, and what is refused then is given up.

use std::collections::BTreeMap;

use ruma::{
    OwnedDeviceId, OwnedTransactionId, OwnedUserId, RoomId,
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
    outbound::outbound_key,
    outcome::Notice,
    requests::{OutgoingBody, OutgoingRequest},
};
use crate::expiry::ExpiryClass;

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
    /// The outbound session whose key it carries, by that record's key.
    #[serde(default)]
    carries: Option<String>,
}

impl OlmMachine {
    /// Records messages of one type, to be sent.
    pub(super) fn queue_to_device(
        &mut self,
        event_type: &str,
        messages: Messages,
        dead_at_ms: Option<u64>,
    ) -> Result<(), CryptoError> {
        self.queue_carrying(event_type, messages, dead_at_ms, None)
    }

    /// Records encrypted messages with the key of an outbound session.
    pub(super) fn queue_room_key(
        &mut self,
        key: &str,
        messages: Messages,
        dead_at_ms: Option<u64>,
    ) -> Result<(), CryptoError> {
        self.queue_carrying("m.room.encrypted", messages, dead_at_ms, Some(key))
    }

    /// Whether the room's key, for that lifetime class, has not reached the server yet for every device that it was made for. Until
    /// then nothing that it encrypts should be sent.
    pub fn is_room_key_under_way(&self, room_id: &RoomId, class: Option<ExpiryClass>) -> bool {
        let key = outbound_key(room_id, class);
        let mut records = self.outgoing.values();
        records.any(|record| record.carries.as_ref() == Some(&key))
    }

    /// What the server has refused for good is split into single messages; a single one is given up, and the program told.
    pub(super) fn refuse_to_device(&mut self, key: &str) -> Result<Vec<Notice>, CryptoError> {
        let Some(record) = self.outgoing.remove(key) else {
            return Ok(Vec::new());
        };
        self.pending.delete(Table::Outgoing, key);
        let singles = record.into_singles();
        if let [(user_id, device_id, _)] = &singles[..] {
            return Ok(vec![Notice::ToDeviceRefused {
                user_id: user_id.clone(),
                device_id: device_id.clone(),
            }]);
        }
        for (place, (_, _, single)) in singles.into_iter().enumerate() {
            // Sorts behind the record it comes from and before the next.
            let key = format!("{key}.{place:03}");
            self.pending.put(Table::Outgoing, &key, &single)?;
            self.outgoing.insert(key, single);
        }
        Ok(Vec::new())
    }

    fn queue_carrying(
        &mut self,
        event_type: &str,
        messages: Messages,
        dead_at_ms: Option<u64>,
        carries: Option<&str>,
    ) -> Result<(), CryptoError> {
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            let mut record = OutgoingRecord {
                event_type: event_type.to_owned(),
                messages: BTreeMap::new(),
                dead_at_ms,
                carries: carries.map(str::to_owned),
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
    /// A record for each device.
    fn into_singles(self) -> Vec<(OwnedUserId, OwnedDeviceId, Self)> {
        let mut singles = Vec::new();
        for (user_id, devices) in self.messages {
            for (device_id, content) in devices {
                let messages = BTreeMap::from([(device_id.clone(), content)]);
                let single = Self {
                    event_type: self.event_type.clone(),
                    messages: BTreeMap::from([(user_id.clone(), messages)]),
                    dead_at_ms: self.dead_at_ms,
                    carries: self.carries.clone(),
                };
                singles.push((user_id.clone(), device_id, single));
            }
        }
        singles
    }

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
