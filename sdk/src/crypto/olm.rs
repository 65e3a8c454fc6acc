//! Olm sessions with other devices: making them from claimed keys, encrypting with the right one, mending broken ones.
//!
//! Invariant: a session is made only with a one-time key that the device's own Ed25519 key has signed, and is used for that device alone:
//! anybody can list anybody's Curve25519 key as their own. A broken session is replaced at most once an hour per device.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#molmv1curve25519-aes-sha2>

use std::collections::BTreeMap;

use ruma::{
    DeviceId, OwnedDeviceId, OwnedUserId, UserId,
    api::client::keys::claim_keys,
    events::AnyToDeviceEventContent,
    serde::{JsonObject, Raw},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vodozemac::{
    Curve25519PublicKey, Ed25519PublicKey,
    olm::{OlmMessage, Session, SessionConfig},
};

use super::{
    account::{SIGNED_CURVE25519, object},
    changes::Table,
    error::CryptoError,
    machine::OlmMachine,
    secret::{SecretBytes, to_json},
    signing::{into_raw, is_signed_by},
    users::DeviceRecord,
};
use crate::expiry::{ExpiryClass, TO_DEVICE_TTL_FIELD};

/// So many sessions are kept with one device; the least recently used goes first. The specification asks for four at least.
pub(super) const SESSIONS_PER_DEVICE_MAX: usize = 8;

/// A new session is made with a device whose messages do not decrypt at most so often, in milliseconds: an hour.
pub(super) const UNWEDGE_MS_MIN: u64 = 60 * 60 * 1000;

/// The sessions with one Curve25519 key, which one device has and others may only claim to have.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct PeerSessions {
    pub(super) sessions: Vec<OlmEntry>,
    /// When a session was last replaced because it seemed broken, by the device's Ed25519 key.
    #[serde(default)]
    pub(super) unwedged: BTreeMap<String, u64>,
}

/// One session.
#[derive(Serialize, Deserialize)]
pub(super) struct OlmEntry {
    #[serde(with = "super::pickle::olm_session")]
    pub(super) session: Session,
    /// The Ed25519 key that signed the one-time key it was made with; `None` if the other side began it, which only the one can that has
    /// the Curve25519 key.
    #[serde(default)]
    pub(super) signer: Option<String>,
    /// When it last decrypted a message; until then, when it was made.
    pub(super) used_ms: u64,
}

/// The plaintext of an Olm message.
#[derive(Serialize)]
struct OlmPlaintext<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    content: &'a JsonObject,
    sender: &'a UserId,
    recipient: &'a UserId,
    recipient_keys: SigningKey<'a>,
    keys: SigningKey<'a>,
    sender_device_keys: JsonObject,
}

#[derive(Serialize)]
struct SigningKey<'a> {
    ed25519: &'a str,
}

impl OlmEntry {
    /// Whether it is a session with the device of that Ed25519 key.
    fn is_with(&self, ed25519: &str) -> bool {
        self.signer
            .as_deref()
            .is_none_or(|signer| signer == ed25519)
    }
}

impl PeerSessions {
    /// The device's session that last received something.
    fn preferred(&mut self, ed25519: &str) -> Option<&mut OlmEntry> {
        let sessions = self.sessions.iter_mut();
        sessions
            .filter(|entry| entry.is_with(ed25519))
            .max_by_key(|entry| entry.used_ms)
    }

    /// Notes that a session was replaced; when that was longer ago than it matters, it is forgotten.
    fn note_unwedged(&mut self, ed25519: &str, now_ms: u64) {
        self.unwedged
            .retain(|_, at_ms| now_ms < at_ms.saturating_add(UNWEDGE_MS_MIN));
        self.unwedged.insert(ed25519.to_owned(), now_ms);
    }

    pub(super) fn add(&mut self, session: Session, signer: Option<String>, now_ms: u64) {
        // A later session must win over one used in the same millisecond.
        let latest = self
            .sessions
            .iter()
            .map(|entry| entry.used_ms + 1)
            .max()
            .unwrap_or(0);
        self.sessions.push(OlmEntry {
            session,
            signer: signer.clone(),
            used_ms: now_ms.max(latest),
        });
        // Counted apart, so that one who claims another's key cannot crowd out the other's sessions.
        let alike = |entry: &&OlmEntry| entry.signer == signer;
        if self.sessions.iter().filter(alike).count() > SESSIONS_PER_DEVICE_MAX {
            let sessions = self.sessions.iter().enumerate();
            let oldest = sessions
                .filter(|(_, entry)| alike(entry))
                .min_by_key(|(_, entry)| entry.used_ms)
                .map(|(index, _)| index);
            if let Some(oldest) = oldest {
                self.sessions.remove(oldest);
            }
        }
    }
}

impl OlmMachine {
    pub(super) fn has_session(&self, device: &DeviceRecord) -> bool {
        self.olm.get(&device.curve25519).is_some_and(|peer| {
            let mut sessions = peer.sessions.iter();
            sessions.any(|entry| entry.is_with(&device.ed25519))
        })
    }

    pub(super) fn save_olm(&mut self, curve25519: &str) -> Result<(), CryptoError> {
        match self.olm.get(curve25519) {
            Some(peer) => self.pending.put(Table::OlmSessions, curve25519, peer),
            None => Ok(()),
        }
    }

    /// Makes sessions from the claimed keys. A device that gave none, or one that is not properly signed, counts as failed.
    pub(super) fn receive_keys_claim(
        &mut self,
        asked: &[(OwnedUserId, OwnedDeviceId)],
        response: &claim_keys::v3::Response,
        now_ms: u64,
    ) -> Result<(), CryptoError> {
        for (user_id, device_id) in asked {
            let keys = response
                .one_time_keys
                .get(user_id)
                .and_then(|devices| devices.get(device_id));
            let device = self
                .users
                .get(user_id)
                .and_then(|user| user.devices.get(device_id))
                .cloned();
            let one_time_key = device.as_ref().and_then(|device| {
                keys.into_iter().flatten().find_map(|(id, key)| {
                    id.as_str()
                        .starts_with(SIGNED_CURVE25519)
                        .then(|| parse_one_time_key(user_id, device_id, device, key.json().get()))?
                })
            });
            let made = match (device, one_time_key) {
                (Some(device), Some(key)) => {
                    self.make_session(user_id, device_id, &device, key, now_ms)?
                }
                _ => false,
            };
            let name = (user_id.clone(), device_id.clone());
            self.wedged.remove(&name);
            if made {
                self.claims_failed.remove(&name);
                if *user_id == self.user_id {
                    self.answer_waiting(device_id)?;
                }
            } else {
                self.claims_failed.insert(name, now_ms);
            }
        }
        Ok(())
    }

    fn make_session(
        &mut self,
        user_id: &UserId,
        device_id: &DeviceId,
        device: &DeviceRecord,
        one_time_key: Curve25519PublicKey,
        now_ms: u64,
    ) -> Result<bool, CryptoError> {
        let identity_key =
            Curve25519PublicKey::from_base64(&device.curve25519).map_err(|_| CryptoError::Key)?;
        // Fails for keys of low order, whose shared secret everyone knows.
        let config = SessionConfig::version_1();
        let Ok(session) =
            self.account
                .account
                .create_outbound_session(config, identity_key, one_time_key)
        else {
            return Ok(false);
        };
        let wedged = self
            .wedged
            .contains(&(user_id.to_owned(), device_id.to_owned()));
        let replaces = wedged || self.has_session(device);
        let peer = self.olm.entry(device.curve25519.clone()).or_default();
        if replaces {
            peer.note_unwedged(&device.ed25519, now_ms);
        }
        peer.add(session, Some(device.ed25519.clone()), now_ms);
        self.save_olm(&device.curve25519)?;
        if replaces {
            // The other side learns of the new session by a message in it.
            let dummy = self.encrypt_olm(
                user_id,
                device_id,
                device,
                "m.dummy",
                &JsonObject::new(),
                None,
            )?;
            let messages = dummy
                .map(|content| (user_id.to_owned(), device_id.to_owned(), content))
                .into_iter()
                .collect();
            self.queue_to_device("m.room.encrypted", messages, None)?;
        }
        Ok(true)
    }

    /// Encrypts an event for one device; `None` if there is no session with it.
    pub(super) fn encrypt_olm(
        &mut self,
        user_id: &UserId,
        device_id: &DeviceId,
        device: &DeviceRecord,
        event_type: &str,
        content: &JsonObject,
        ttl: Option<ExpiryClass>,
    ) -> Result<Option<Raw<AnyToDeviceEventContent>>, CryptoError> {
        let plaintext = self.olm_plaintext(user_id, device, event_type, content)?;
        let Some(entry) = self
            .olm
            .get_mut(&device.curve25519)
            .and_then(|peer| peer.preferred(&device.ed25519))
        else {
            return Ok(None);
        };
        let Ok(message) = entry.session.encrypt(plaintext.expose()) else {
            // The session has run out: make another one.
            self.wedged
                .insert((user_id.to_owned(), device_id.to_owned()));
            return Ok(None);
        };
        self.save_olm(&device.curve25519)?;
        let (message_type, body) = message.to_parts();
        let mut outer = object(json!({
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": self.account.curve25519(),
            "ciphertext": {
                device.curve25519.as_str(): { "type": message_type, "body": vodozemac::base64_encode(body) },
            },
        }))?;
        if let Some(ttl) = ttl {
            outer.insert(TO_DEVICE_TTL_FIELD.to_owned(), ttl.as_ms().into());
        }
        Ok(Some(into_raw(outer)?))
    }

    pub(super) fn olm_plaintext(
        &self,
        user_id: &UserId,
        device: &DeviceRecord,
        event_type: &str,
        content: &JsonObject,
    ) -> Result<SecretBytes, CryptoError> {
        let plaintext = OlmPlaintext {
            event_type,
            content,
            sender: &self.user_id,
            recipient: user_id,
            recipient_keys: SigningKey {
                ed25519: &device.ed25519,
            },
            keys: SigningKey {
                ed25519: &self.account.ed25519(),
            },
            sender_device_keys: self.account.device_keys()?,
        };
        to_json(&plaintext).map_err(|_| CryptoError::Key)
    }

    /// Decrypts with the sessions that there are, or with a new one that the message starts. `None` if none of them can.
    pub(super) fn decrypt_olm_message(
        &mut self,
        sender_key: &str,
        message: &OlmMessage,
        now_ms: u64,
    ) -> Result<Option<Vec<u8>>, CryptoError> {
        let known = self.olm.get(sender_key).map(|peer| &peer.sessions);
        let starts_session = match message {
            OlmMessage::PreKey(pre_key) => {
                let id = pre_key.session_id();
                let is_known = known.is_some_and(|sessions| {
                    sessions
                        .iter()
                        .any(|entry| entry.session.session_id() == id)
                });
                (!is_known).then_some(pre_key)
            }
            OlmMessage::Normal(_) => None,
        };
        let plaintext = if let Some(pre_key) = starts_session {
            let Ok(identity_key) = Curve25519PublicKey::from_base64(sender_key) else {
                return Ok(None);
            };
            let config = SessionConfig::version_1();
            let Ok(created) =
                self.account
                    .account
                    .create_inbound_session(config, identity_key, pre_key)
            else {
                return Ok(None);
            };
            self.olm
                .entry(sender_key.to_owned())
                .or_default()
                .add(created.session, None, now_ms);
            // The one-time key is used up.
            self.save_account()?;
            created.plaintext
        } else {
            let right = |entry: &OlmEntry| match message {
                OlmMessage::PreKey(pre_key) => entry.session.session_id() == pre_key.session_id(),
                OlmMessage::Normal(_) => true,
            };
            let sessions = self
                .olm
                .get_mut(sender_key)
                .into_iter()
                .flat_map(|peer| &mut peer.sessions);
            let mut sessions = sessions.filter(|entry| right(entry));
            let Some((entry, plaintext)) = sessions.find_map(|entry| {
                entry
                    .session
                    .decrypt(message)
                    .ok()
                    .map(|plaintext| (entry, plaintext))
            }) else {
                return Ok(None);
            };
            entry.used_ms = entry.used_ms.max(now_ms);
            plaintext
        };
        self.save_olm(sender_key)?;
        Ok(Some(plaintext))
    }

    /// Has a new session made with a device whose message did not decrypt, unless that was done lately.
    pub(super) fn unwedge(&mut self, sender: &UserId, sender_key: &str, now_ms: u64) {
        let devices = self.users.get(sender).map(|user| &user.devices);
        let device = devices
            .into_iter()
            .flatten()
            .find(|(_, device)| device.curve25519 == sender_key);
        let Some((device_id, device)) = device else {
            return;
        };
        let unwedged = self.olm.get(sender_key).map(|peer| &peer.unwedged);
        let unwedged_ms = unwedged.and_then(|unwedged| unwedged.get(&device.ed25519));
        if unwedged_ms.is_none_or(|at_ms| now_ms >= at_ms.saturating_add(UNWEDGE_MS_MIN)) {
            let name = (sender.to_owned(), device_id.clone());
            self.wedged.insert(name);
        }
    }
}

/// A claimed key, if the device has signed it.
fn parse_one_time_key(
    user_id: &UserId,
    device_id: &DeviceId,
    device: &DeviceRecord,
    json: &str,
) -> Option<Curve25519PublicKey> {
    let object: JsonObject = serde_json::from_str(json).ok()?;
    let signer = Ed25519PublicKey::from_base64(&device.ed25519).ok()?;
    if !is_signed_by(&object, user_id, device_id.as_str(), &signer) {
        return None;
    }
    Curve25519PublicKey::from_base64(object.get("key").and_then(Value::as_str)?).ok()
}
