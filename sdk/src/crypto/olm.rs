//! Olm sessions with other devices: making them from claimed keys, encrypting with the right one, mending broken ones.
//!
//! Invariant: a session is made only with a one-time key that the device's own Ed25519 key has signed; a broken session is replaced at
//! most once an hour per device.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#molmv1curve25519-aes-sha2>

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

/// The sessions with one device.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct PeerSessions {
    pub(super) sessions: Vec<OlmEntry>,
    /// When a session was last replaced because it seemed broken.
    pub(super) unwedged_ms: Option<u64>,
}

/// One session.
#[derive(Serialize, Deserialize)]
pub(super) struct OlmEntry {
    #[serde(with = "super::pickle::olm_session")]
    pub(super) session: Session,
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

impl PeerSessions {
    /// The session that last received something.
    fn preferred(&mut self) -> Option<&mut OlmEntry> {
        self.sessions.iter_mut().max_by_key(|entry| entry.used_ms)
    }

    pub(super) fn add(&mut self, session: Session, now_ms: u64) {
        // A later session must win over one used in the same millisecond.
        let latest = self
            .sessions
            .iter()
            .map(|entry| entry.used_ms + 1)
            .max()
            .unwrap_or(0);
        self.sessions.push(OlmEntry {
            session,
            used_ms: now_ms.max(latest),
        });
        if self.sessions.len() > SESSIONS_PER_DEVICE_MAX
            && let Some(oldest) =
                (0..self.sessions.len()).min_by_key(|index| self.sessions[*index].used_ms)
        {
            self.sessions.remove(oldest);
        }
    }
}

impl OlmMachine {
    pub(super) fn has_session(&self, curve25519: &str) -> bool {
        self.olm
            .get(curve25519)
            .is_some_and(|peer| !peer.sessions.is_empty())
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
        let peer = self.olm.entry(device.curve25519.clone()).or_default();
        let wedged = self
            .wedged
            .contains(&(user_id.to_owned(), device_id.to_owned()));
        let replaces = wedged || !peer.sessions.is_empty();
        if replaces {
            peer.unwedged_ms = Some(now_ms);
        }
        peer.add(session, now_ms);
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
            .and_then(PeerSessions::preferred)
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
                .add(created.session, now_ms);
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
        let Some(device_id) = device.map(|(device_id, _)| device_id.clone()) else {
            return;
        };
        let unwedged_ms = self.olm.get(sender_key).and_then(|peer| peer.unwedged_ms);
        if unwedged_ms.is_none_or(|at_ms| now_ms >= at_ms.saturating_add(UNWEDGE_MS_MIN)) {
            self.wedged.insert((sender.to_owned(), device_id));
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
