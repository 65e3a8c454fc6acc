//! Megolm sessions that encrypt: one for each room and lifetime class, and when each is replaced.
//!
//! Invariant: a session is replaced when its time or its messages are over, and when anyone who was given its key no longer may have
//! what follows. Spec: <https://spec.matrix.org/v1.19/client-server-api/#mmegolmv1aes-sha2>

use std::collections::{BTreeMap, BTreeSet};

use ruma::{DeviceId, OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use vodozemac::megolm::{GroupSession, InboundGroupSession, SessionConfig};

use super::{
    changes::{Staged, Table},
    error::CryptoError,
    inbound::{InboundKey, InboundRecord, SessionExpiry},
    machine::OlmMachine,
    settings::{RoomKeySettings, Rotation},
    views::View,
};
use crate::expiry::ExpiryClass;

/// A session that encrypts.
#[derive(Serialize, Deserialize)]
pub(super) struct OutboundRecord {
    #[serde(with = "super::pickle::outbound")]
    pub(super) session: GroupSession,
    pub(super) room_id: OwnedRoomId,
    pub(super) made_ms: u64,
    pub(super) rotation: Rotation,
    pub(super) expiry: Option<SessionExpiry>,
    /// Someone who has the key may not have what follows.
    pub(super) compromised: bool,
    /// What we have said within its messages that we are told of the room.
    #[serde(default)]
    pub(super) said: Option<View>,
}

/// Who has a session's key. A record of its own, because it is large and the session changes with every message.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Shares {
    /// The devices that were given the key, with their Curve25519 keys.
    pub(super) given: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, String>>,
    /// The devices that were told that they will not be.
    pub(super) withheld: BTreeSet<(OwnedUserId, OwnedDeviceId)>,
}

impl Shares {
    pub(super) fn has(&self, user_id: &UserId, device_id: &DeviceId, curve25519: &str) -> bool {
        let given = self
            .given
            .get(user_id)
            .and_then(|devices| devices.get(device_id));
        given.is_some_and(|key| key == curve25519)
    }
}

/// The key of a session's record.
pub(super) fn outbound_key(room_id: &RoomId, class: Option<ExpiryClass>) -> String {
    format!("{} {room_id}", class.map_or(0, ExpiryClass::as_ms))
}

impl OutboundRecord {
    pub(super) fn new(room_id: &RoomId, settings: &RoomKeySettings, now_ms: u64) -> Self {
        Self {
            session: GroupSession::new(SessionConfig::version_1()),
            room_id: room_id.to_owned(),
            made_ms: now_ms,
            rotation: settings.rotation,
            expiry: settings
                .expiry
                .map(|class| SessionExpiry::starting(class, now_ms)),
            compromised: false,
            said: None,
        }
    }

    pub(super) fn class(&self) -> Option<ExpiryClass> {
        self.expiry.map(|expiry| expiry.class)
    }

    /// Whether it must not encrypt anything more.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        let period_ms = self.rotation.period_ms(self.class());
        // A clock set back must not lengthen a session's life.
        let in_time = (self.made_ms..self.made_ms.saturating_add(period_ms)).contains(&now_ms);
        self.compromised
            || !in_time
            || u64::from(self.session.message_index()) >= self.rotation.messages()
    }
}

impl OlmMachine {
    pub(super) fn save_outbound(&mut self, key: &str) -> Result<(), CryptoError> {
        match self.outbound.get(key) {
            Some(record) => self.pending.put(Table::Outbound, key, record),
            None => Ok(()),
        }
    }

    pub(super) fn save_shares(&mut self, key: &str) -> Result<(), CryptoError> {
        match self.shares.get(key) {
            Some(shares) => self.pending.put(Table::Shares, key, shares),
            None => Ok(()),
        }
    }

    /// Replaces the room's sessions before the next message, since someone who may have their keys has left: call it for every member
    /// that is seen to leave (and, after a gap in the timeline, for every membership other than `join`).
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if a record cannot be serialised.
    pub fn room_member_left(
        &mut self,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Staged<()>, CryptoError> {
        let affected: Vec<String> = self
            .outbound
            .iter()
            .filter(|(_, record)| record.room_id == *room_id && !record.compromised)
            .map(|(key, _)| key.clone())
            .collect();
        for key in affected {
            if let Some(record) = self.outbound.get_mut(&key) {
                record.compromised = true;
            }
            self.save_outbound(&key)?;
        }
        if let Some(room) = self.rooms.get_mut(room_id) {
            let accepted = room.accepted.as_mut();
            let was_accepted = accepted.is_some_and(|accepted| accepted.remove(user_id));
            if room.present.remove(user_id) || was_accepted {
                self.save_room(room_id)?;
            }
        }
        Ok(self.stage(()))
    }

    /// Makes a new session in place of what was there, and our own copy to decrypt with.
    pub(super) fn replace_outbound(
        &mut self,
        key: &str,
        room_id: &RoomId,
        settings: &RoomKeySettings,
        now_ms: u64,
    ) -> Result<(), CryptoError> {
        let record = OutboundRecord::new(room_id, settings, now_ms);
        let inbound = InboundRecord {
            session: InboundGroupSession::new(
                &record.session.session_key(),
                SessionConfig::version_1(),
            ),
            room_id: room_id.to_owned(),
            sender_curve25519: self.account.curve25519(),
            sender_ed25519: self.account.ed25519(),
            expiry: record.expiry,
            imported: false,
            backed_up_in: None,
        };
        let inbound_key = InboundKey::new(&self.user_id.clone(), &record.session.session_id());
        self.inbound.insert(inbound_key.clone(), inbound);
        self.save_inbound(&inbound_key)?;
        self.outbound.insert(key.to_owned(), record);
        self.shares.insert(key.to_owned(), Shares::default());
        self.save_shares(key)?;
        self.save_outbound(key)
    }

    pub(super) fn save_room(&mut self, room_id: &RoomId) -> Result<(), CryptoError> {
        match self.rooms.get(room_id) {
            Some(room) => self.pending.put(Table::Room, room_id.as_str(), room),
            None => Ok(()),
        }
    }
}
