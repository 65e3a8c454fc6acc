//! Room keys that come by way of others: from a backup, a file, or another device of ours.
//!
//! Invariant: who made such a key is what the copy says, so it never counts as proof of a sender, and never takes the place of a key that
//! its owner sent. It is advanced to the floor of its session, whoever that belongs to; what expires is neither taken nor given.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#key-export-format>

use ruma::{OwnedRoomId, serde::JsonObject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vodozemac::megolm::{ExportedSessionKey, InboundGroupSession, SessionConfig, SessionOrdering};

use super::{
    account::object,
    changes::{Staged, Table},
    error::CryptoError,
    inbound::{Floor, InboundKey, InboundRecord},
    machine::OlmMachine,
    secret::{SecretBytes, to_json, wipe},
};

const MEGOLM: &str = "m.megolm.v1.aes-sha2";

/// More sessions are not taken from one file or backup.
pub const IMPORT_SESSIONS_MAX: usize = 200_000;

/// What became of keys that were brought in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportOutcome {
    /// So many let us read more than before.
    pub imported: usize,
    /// So many were known already.
    pub known: usize,
    /// So many were refused: malformed, of expired messages, or at odds with what is held.
    pub refused: usize,
}

/// A key on its way in, not yet believed.
#[derive(Deserialize)]
pub(super) struct ExportedKey {
    algorithm: String,
    room_id: OwnedRoomId,
    session_id: String,
    session_key: String,
    sender_key: String,
    sender_claimed_keys: ClaimedKeys,
}

#[derive(Deserialize)]
struct ClaimedKeys {
    ed25519: String,
}

/// A key on its way out.
#[derive(Serialize)]
struct OutgoingKey<'a> {
    algorithm: &'a str,
    forwarding_curve25519_key_chain: [&'a str; 0],
    room_id: &'a OwnedRoomId,
    sender_claimed_keys: Value,
    sender_key: &'a str,
    session_id: String,
    session_key: String,
}

impl Drop for OutgoingKey<'_> {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.session_key);
    }
}

impl ExportedKey {
    /// From the fields of a backup's session, or of a forwarded key with its claimed key put in place.
    pub(super) fn from_fields(
        mut fields: JsonObject,
        room_id: &str,
        session_id: &str,
    ) -> Option<Self> {
        fields.insert("room_id".to_owned(), room_id.into());
        fields.insert("session_id".to_owned(), session_id.into());
        serde_json::from_value(Value::Object(fields)).ok()
    }

    fn into_record(mut self) -> Option<(String, InboundRecord)> {
        let key = ExportedSessionKey::from_base64(&self.session_key);
        zeroize::Zeroize::zeroize(&mut self.session_key);
        let session = InboundGroupSession::import(&key.ok()?, SessionConfig::version_1());
        let right = self.algorithm == MEGOLM && session.session_id() == self.session_id;
        right.then_some((
            self.session_id,
            InboundRecord {
                session,
                room_id: self.room_id,
                sender_curve25519: self.sender_key,
                sender_ed25519: self.sender_claimed_keys.ed25519,
                expiry: None,
                imported: true,
                backed_up_in: None,
            },
        ))
    }
}

impl InboundRecord {
    /// The key from its first index on, in the form of exports; `None` for what expires.
    pub(super) fn export(&self) -> Option<SecretBytes> {
        if self.expiry.is_some() {
            return None;
        }
        let key = OutgoingKey {
            algorithm: MEGOLM,
            forwarding_curve25519_key_chain: [],
            room_id: &self.room_id,
            sender_claimed_keys: json!({ "ed25519": self.sender_ed25519 }),
            sender_key: &self.sender_curve25519,
            session_id: self.session.session_id(),
            session_key: self.session.export_at_first_known_index().to_base64(),
        };
        to_json(&key).ok()
    }

    /// The same as the content of an `m.forwarded_room_key`.
    pub(super) fn forwarded(&self) -> Result<Option<JsonObject>, CryptoError> {
        if self.expiry.is_some() {
            return Ok(None);
        }
        let content = object(json!({
            "algorithm": MEGOLM,
            "forwarding_curve25519_key_chain": [],
            "room_id": self.room_id,
            "sender_claimed_ed25519_key": self.sender_ed25519,
            "sender_key": self.sender_curve25519,
            "session_id": self.session.session_id(),
            "session_key": self.session.export_at_first_known_index().to_base64(),
        }))?;
        Ok(Some(content))
    }
}

impl OlmMachine {
    /// All room keys that may leave this device, as the JSON of a key export: encrypt it with
    /// [`encrypt_key_export`](super::encrypt_key_export). Keys of expiring messages are left out.
    ///
    /// # Errors
    /// [`CryptoError::Key`] if they cannot be serialised.
    pub fn export_room_keys(&self) -> Result<SecretBytes, CryptoError> {
        let keys: Vec<SecretBytes> = self
            .inbound
            .values()
            .filter_map(InboundRecord::export)
            .collect();
        let length: usize = keys.iter().map(|key| key.expose().len() + 1).sum();
        let mut text = Vec::with_capacity(length + 2);
        text.push(b'[');
        for (index, key) in keys.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            text.extend_from_slice(key.expose());
        }
        text.push(b']');
        Ok(SecretBytes::new(text))
    }

    /// Takes the room keys of a key export, as [`decrypt_key_export`](super::decrypt_key_export) gives them. Events that waited for them
    /// can be tried again.
    ///
    /// # Errors
    /// [`CryptoError::Key`] if it is no list of keys, or one of more than [`IMPORT_SESSIONS_MAX`].
    pub fn import_room_keys(
        &mut self,
        keys: &SecretBytes,
    ) -> Result<Staged<ImportOutcome>, CryptoError> {
        let mut keys: Vec<Value> =
            serde_json::from_slice(keys.expose()).map_err(|_| CryptoError::Key)?;
        if keys.len() > IMPORT_SESSIONS_MAX {
            keys.iter_mut().for_each(wipe);
            return Err(CryptoError::Key);
        }
        let mut outcome = ImportOutcome::default();
        for key in keys {
            let key = serde_json::from_value(key).ok();
            self.import_exported(key, &mut outcome)?;
        }
        Ok(self.stage(outcome))
    }

    /// Takes one key and counts it.
    pub(super) fn import_exported(
        &mut self,
        key: Option<ExportedKey>,
        outcome: &mut ImportOutcome,
    ) -> Result<(), CryptoError> {
        let taken = match key.and_then(ExportedKey::into_record) {
            Some((session_id, record)) => self.import_record(&session_id, record)?,
            None => None,
        };
        match taken {
            Some(true) => outcome.imported += 1,
            Some(false) => outcome.known += 1,
            None => outcome.refused += 1,
        }
        Ok(())
    }

    /// Tells whether it lets us read more than before; `None` if it is refused.
    pub(super) fn import_record(
        &mut self,
        session_id: &str,
        mut new: InboundRecord,
    ) -> Result<Option<bool>, CryptoError> {
        let floor = self.floor_of(session_id, &new.sender_curve25519);
        if floor.dead {
            return Ok(None);
        }
        new.session.advance_to(floor.index_min);
        let held: Vec<InboundKey> = self
            .inbound
            .keys()
            .filter(|key| key.session_id == session_id)
            .cloned()
            .collect();
        // A key that its owner sent is made to reach further back, if this is the same ratchet; its origin stays. Another's, who was given
        // the key and passed it on as theirs, has nothing to do with it.
        for key in &held {
            let Some(known) = self
                .inbound
                .get_mut(key)
                .filter(|known| known.imported || known.sender_curve25519 == new.sender_curve25519)
            else {
                continue;
            };
            if known.expiry.is_some() || known.room_id != new.room_id {
                return Ok(None);
            }
            match known.session.compare(&mut new.session) {
                SessionOrdering::Better | SessionOrdering::Equal => return Ok(Some(false)),
                SessionOrdering::Unconnected => return Ok(None),
                SessionOrdering::Worse => {
                    known.session = new.session;
                    known.backed_up_in = new.backed_up_in;
                    self.save_inbound(key)?;
                    return Ok(Some(true));
                }
            }
        }
        let key = InboundKey::imported(session_id);
        self.inbound.insert(key.clone(), new);
        self.save_inbound(&key)?;
        Ok(Some(true))
    }

    /// How far a session has been destroyed that a device has made, if that is known, or else anybody.
    fn floor_of(&self, session_id: &str, curve25519: &str) -> Floor {
        let has = |user: &super::users::UserRecord| {
            let mut devices = user.devices.values().chain(user.vanished.values());
            devices.any(|device| device.curve25519 == curve25519)
        };
        let owner = if curve25519 == self.account.curve25519() {
            Some(&self.user_id)
        } else {
            let found = self.users.iter().find(|(_, user)| has(user));
            found.map(|(user_id, _)| user_id)
        };
        let copy = InboundKey::imported(session_id).sender;
        let mut floor = Floor::default();
        for (key, other) in &self.floors {
            let counts = owner.is_none_or(|owner| key.sender == *owner || key.sender == copy);
            if key.session_id == session_id && counts {
                floor.index_min = floor.index_min.max(other.index_min);
                floor.dead |= other.dead;
            }
        }
        floor
    }

    /// A key that its owner sent takes the place of a copy of it, and keeps how far that reached back.
    pub(super) fn replace_imported(
        &mut self,
        key: &InboundKey,
        new: &mut InboundRecord,
    ) -> Result<(), CryptoError> {
        let copy_key = InboundKey::imported(&key.session_id);
        let from_owner = |copy: &InboundRecord| copy.sender_curve25519 == new.sender_curve25519;
        if !self.inbound.get(&copy_key).is_some_and(from_owner) {
            return Ok(());
        }
        let Some(mut copy) = self.inbound.remove(&copy_key) else {
            return Ok(());
        };
        self.pending.delete(Table::Inbound, &copy_key.to_string());
        let reaches_back = new.expiry.is_none()
            && copy.room_id == new.room_id
            && new.session.compare(&mut copy.session) == SessionOrdering::Worse;
        if reaches_back {
            new.session = copy.session;
        }
        Ok(())
    }
}
