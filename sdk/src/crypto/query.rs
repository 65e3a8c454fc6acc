//! Taking the answer to a key query: checking signatures, pinning what is new, noticing what changed.
//!
//! Invariant: nothing of an answer is believed that is not signed by the keys it speaks of; a key that differs from its pin is kept
//! aside, not taken. Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery>

use std::collections::BTreeMap;

use ruma::{
    DeviceId, OwnedDeviceId, OwnedUserId, UserId,
    api::client::keys::get_keys,
    encryption::{CrossSigningKey, DeviceKeys},
    serde::{JsonObject, Raw},
};
use serde_json::Value;
use vodozemac::{Curve25519PublicKey, Ed25519PublicKey};

use super::{
    error::CryptoError,
    machine::OlmMachine,
    outcome::Notice,
    signing::is_signed_by,
    users::{DEVICES_PER_USER_MAX, DeviceRecord, Identity, UserRecord},
};

impl OlmMachine {
    /// Takes an answer for the users that were asked about, each with the generation of its list at the time.
    pub(super) fn receive_keys_query(
        &mut self,
        asked: &BTreeMap<OwnedUserId, u64>,
        response: &get_keys::v3::Response,
        now_ms: u64,
    ) -> Result<Vec<Notice>, CryptoError> {
        let mut notices = Vec::new();
        // Our own identity first: by it others' are judged.
        let own_first = asked.get_key_value(&self.user_id);
        let others = asked
            .iter()
            .filter(|(user_id, _)| **user_id != self.user_id);
        let order: Vec<_> = own_first.into_iter().chain(others).collect();
        for (user_id, generation) in order {
            let failed = response
                .failures
                .contains_key(user_id.server_name().as_str());
            let Some(mut user) = self.users.remove(user_id) else {
                continue;
            };
            if failed {
                user.failed_at_ms = Some(now_ms);
            } else {
                self.update_identity(&mut user, user_id, response, &mut notices);
                self.update_devices(&mut user, user_id, response, &mut notices);
                user.failed_at_ms = None;
                user.fetched = true;
                user.outdated = user.generation != *generation;
            }
            self.users.insert(user_id.clone(), user);
            self.save_user(user_id)?;
        }
        Ok(notices)
    }

    fn update_identity(
        &self,
        user: &mut UserRecord,
        user_id: &UserId,
        response: &get_keys::v3::Response,
        notices: &mut Vec<Notice>,
    ) {
        let new = response.master_keys.get(user_id).and_then(|master| {
            let self_signing = response.self_signing_keys.get(user_id);
            let user_signing = response.user_signing_keys.get(user_id);
            let user_signing = user_signing.filter(|_| *user_id == self.user_id);
            let signed = (self_signing, user_signing);
            let (mut identity, object) = parse_identity(user_id, master, signed)?;
            identity.verified = self.is_signed_by_us(user_id, &identity.master, master);
            Some((identity, object))
        });
        // Who is known by devices gets an identity from one of them, not from the server.
        let vouched = !self.is_late(user, user_id)
            || new
                .as_ref()
                .is_some_and(|(_, master)| user.vouches_for(user_id, master));
        let new = new.map(|(identity, _)| identity);
        let unpublished = *user_id == self.user_id
            && self
                .cross_signing
                .as_ref()
                .is_some_and(|keys| !keys.published);
        let before = user.changed_identity.clone();
        match (&mut user.identity, new) {
            (Some(known), Some(new)) if known.master == new.master => {
                known.self_signing = new.self_signing;
                known.user_signing = new.user_signing;
                known.verified |= new.verified;
                user.changed_identity = None;
            }
            // Keys that we made and have not uploaded yet cannot be in the answer.
            (Some(_), None) if unpublished => {}
            (Some(_), new) => user.changed_identity = Some(new),
            (None, Some(new)) if !vouched => user.changed_identity = Some(Some(new)),
            (None, new) => {
                user.identity = new;
                user.changed_identity = None;
            }
        }
        if user.changed_identity.is_some() && user.changed_identity != before {
            let change = user.changes(user_id).into_iter().next();
            notices.extend(change.map(Notice::IdentityChanged));
        }
    }

    /// Whether another device of ours has verified this user: our user-signing key, which our own verified identity has signed, has
    /// signed their master key.
    fn is_signed_by_us(&self, user_id: &UserId, name: &str, raw: &Raw<CrossSigningKey>) -> bool {
        let own = self
            .users
            .get(&self.user_id)
            .filter(|own| !own.has_changes());
        let identity = own
            .and_then(|own| own.identity.as_ref())
            .filter(|identity| identity.verified);
        let Some(signer) = identity.and_then(|identity| identity.user_signing.as_deref()) else {
            return false;
        };
        let Ok(key) = Ed25519PublicKey::from_base64(signer) else {
            return false;
        };
        let object = parse_cross_signing_key(user_id, raw, "master").map(|(_, object)| object);
        object.is_some_and(|object| {
            *user_id != self.user_id
                && name != signer
                && is_signed_by(&object, &self.user_id, signer, &key)
        })
    }

    fn update_devices(
        &self,
        user: &mut UserRecord,
        user_id: &UserId,
        response: &get_keys::v3::Response,
        notices: &mut Vec<Notice>,
    ) {
        let none = BTreeMap::new();
        let listed = response.device_keys.get(user_id).unwrap_or(&none);
        let first_time = !user.fetched;
        let late = self.is_late(user, user_id);
        let mut devices = BTreeMap::new();
        let mut added = 0;
        user.changed_devices.clear();
        for (device_id, keys) in listed.iter().take(DEVICES_PER_USER_MAX) {
            if *user_id == self.user_id && *device_id == self.device_id {
                self.check_own_device(keys, notices);
                continue;
            }
            let Some(mut new) = parse_device(user_id, device_id, keys, user.identity.as_ref())
            else {
                notices.push(Notice::DeviceRefused {
                    user_id: user_id.to_owned(),
                    device_id: device_id.clone(),
                });
                continue;
            };
            if *user_id == self.user_id {
                new.listed = listed_keys(keys);
            }
            match user.pinned(device_id).cloned() {
                Some(pin) if pin.same_keys(&new) => {
                    new.verified = pin.verified;
                    new.late = pin.late;
                    devices.insert(device_id.clone(), new);
                }
                Some(pin) => {
                    devices.insert(device_id.clone(), pin);
                    user.changed_devices.insert(device_id.clone(), new);
                }
                None if !user.make_room(added) => notices.push(Notice::DeviceRefused {
                    user_id: user_id.to_owned(),
                    device_id: device_id.clone(),
                }),
                None => {
                    added += 1;
                    new.late = late;
                    if !first_time {
                        notices.push(Notice::NewDevice {
                            user_id: user_id.to_owned(),
                            device_id: device_id.clone(),
                            cross_signed: new.cross_signed,
                        });
                    }
                    devices.insert(device_id.clone(), new);
                }
            }
        }
        replace_devices(user, devices);
        let changed = user.changes(user_id).into_iter();
        notices.extend(
            changed
                .filter(|change| matches!(change, super::error::IdentityChange::DeviceKeys { .. }))
                .map(Notice::IdentityChanged),
        );
    }

    /// Whether what turns up now was not there when the user was first seen. Of our own user this device was, before anything is fetched.
    fn is_late(&self, user: &UserRecord, user_id: &UserId) -> bool {
        user.is_known() || (*user_id == self.user_id && user.fetched)
    }

    fn check_own_device(&self, keys: &Raw<DeviceKeys>, notices: &mut Vec<Notice>) {
        let ours = parse_device(&self.user_id, &self.device_id, keys, None).is_some_and(|device| {
            device.ed25519 == self.account.ed25519()
                && device.curve25519 == self.account.curve25519()
        });
        if !ours {
            notices.push(Notice::OwnDeviceKeysReplaced);
        }
    }
}

/// Takes the new list; devices that are not on it keep their pins.
fn replace_devices(user: &mut UserRecord, devices: BTreeMap<OwnedDeviceId, DeviceRecord>) {
    let old = std::mem::replace(&mut user.devices, devices);
    for (device_id, device) in old {
        if !user.devices.contains_key(&device_id) {
            user.vanished.insert(device_id, device);
        }
    }
    user.vanished
        .retain(|device_id, _| !user.devices.contains_key(device_id));
}

/// A device's keys, if they are what they say: of this user and device, self-signed, and under an id that is not a cross-signing
/// key's.
pub(super) fn parse_device(
    user_id: &UserId,
    device_id: &DeviceId,
    keys: &Raw<DeviceKeys>,
    identity: Option<&Identity>,
) -> Option<DeviceRecord> {
    let object: JsonObject = serde_json::from_str(keys.json().get()).ok()?;
    parse_device_object(user_id, device_id, &object, identity)
}

/// As [`parse_device`], for an object.
pub(super) fn parse_device_object(
    user_id: &UserId,
    device_id: &DeviceId,
    object: &JsonObject,
    identity: Option<&Identity>,
) -> Option<DeviceRecord> {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let named =
        text("user_id") == Some(user_id.as_str()) && text("device_id") == Some(device_id.as_str());
    let is_key = identity.is_some_and(|identity| {
        identity.master == device_id.as_str()
            || identity.self_signing.as_deref() == Some(device_id.as_str())
    });
    if !named || is_key {
        return None;
    }
    let key = |algorithm: &str| {
        object
            .get("keys")?
            .get(format!("{algorithm}:{device_id}"))?
            .as_str()
    };
    let ed25519 = Ed25519PublicKey::from_base64(key("ed25519")?).ok()?;
    let curve25519 = Curve25519PublicKey::from_base64(key("curve25519")?).ok()?;
    if !is_signed_by(object, user_id, device_id.as_str(), &ed25519) {
        return None;
    }
    let speaks = |algorithm: &str| {
        let algorithms = object.get("algorithms").and_then(Value::as_array);
        algorithms.is_some_and(|all| all.iter().any(|name| name.as_str() == Some(algorithm)))
    };
    let cross_signed = identity
        .and_then(|identity| identity.self_signing.as_deref())
        .is_some_and(|name| {
            Ed25519PublicKey::from_base64(name)
                .is_ok_and(|key| is_signed_by(object, user_id, name, &key))
        });
    let dehydrated = object.get("dehydrated").and_then(Value::as_bool) == Some(true);
    let speaks_both = speaks("m.olm.v1.curve25519-aes-sha2") && speaks("m.megolm.v1.aes-sha2");
    Some(DeviceRecord {
        ed25519: ed25519.to_base64(),
        curve25519: curve25519.to_base64(),
        // "Clients that support dehydrated devices must not encrypt to devices marked as being a dehydrated device if they are not
        // cross-signed."
        encrypts: speaks_both && (!dehydrated || cross_signed),
        cross_signed,
        dehydrated,
        verified: false,
        late: false,
        listed: None,
    })
}

/// What is signed of a device's keys.
fn listed_keys(keys: &Raw<DeviceKeys>) -> Option<JsonObject> {
    let mut object: JsonObject = serde_json::from_str(keys.json().get()).ok()?;
    object.remove("signatures");
    object.remove("unsigned");
    Some(object)
}

/// A user's master key, and their self-signing and user-signing keys if the master key has signed them; and the master key as it was
/// signed.
fn parse_identity(
    user_id: &UserId,
    master: &Raw<CrossSigningKey>,
    (self_signing, user_signing): (Option<&Raw<CrossSigningKey>>, Option<&Raw<CrossSigningKey>>),
) -> Option<(Identity, JsonObject)> {
    let (master_key, object) = parse_cross_signing_key(user_id, master, "master")?;
    let master = master_key.to_base64();
    let signed = |raw: &Raw<CrossSigningKey>, usage: &str| {
        let (key, object) = parse_cross_signing_key(user_id, raw, usage)?;
        is_signed_by(&object, user_id, &master, &master_key).then(|| key.to_base64())
    };
    let self_signing = self_signing.and_then(|raw| signed(raw, "self_signing"));
    let user_signing = user_signing.and_then(|raw| signed(raw, "user_signing"));
    let identity = Identity {
        master,
        self_signing,
        user_signing,
        verified: false,
    };
    Some((identity, object))
}

fn parse_cross_signing_key(
    user_id: &UserId,
    raw: &Raw<CrossSigningKey>,
    usage: &str,
) -> Option<(Ed25519PublicKey, JsonObject)> {
    let object: JsonObject = serde_json::from_str(raw.json().get()).ok()?;
    let right_user = object.get("user_id").and_then(Value::as_str) == Some(user_id.as_str());
    let right_usage = object
        .get("usage")?
        .as_array()?
        .iter()
        .any(|name| name.as_str() == Some(usage));
    let keys = object.get("keys")?.as_object()?;
    let (id, key) = keys
        .iter()
        .next()
        .filter(|_| keys.len() == 1 && right_user && right_usage)?;
    let public = Ed25519PublicKey::from_base64(key.as_str()?).ok()?;
    (id.strip_prefix("ed25519:") == Some(public.to_base64().as_str())).then_some((public, object))
}
