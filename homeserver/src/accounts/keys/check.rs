//! The form of key objects and the signatures over them. Pure: no database.
//!
//! Invariant: an object that passed is canonical JSON, at most [`KEY_OBJECT_BYTES_MAX`] long, of the
//! user and device claimed, and without `unsigned`.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#device-keys>

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, DeviceId, SigningKeyAlgorithm, UserId,
    serde::Base64,
    signatures::{to_canonical_json_string_for_signing, verify_canonical_json_bytes},
};
use serde_json::value::RawValue;

use super::KeysError;
use crate::store::{KeyUsage, NewKey};

/// The longest key object, in bytes.
const KEY_OBJECT_BYTES_MAX: usize = 32 * 1024;
/// The longest one-time key, in bytes.
const ONE_TIME_KEY_BYTES_MAX: usize = 8 * 1024;
/// The longest name of a key, in bytes.
const KEY_ID_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;
/// How many keys and algorithms a device may list.
const LISTED_MAX: usize = 50;
/// Bytes of an Ed25519 or Curve25519 public key.
const PUBLIC_KEY_BYTES: usize = 32;

/// A cross-signing key that passed.
#[derive(Clone, Debug)]
pub(super) struct CheckedKey {
    pub(super) usage: KeyUsage,
    pub(super) public_key: String,
    pub(super) object: CanonicalJsonObject,
}

/// Reads a key object, without `unsigned`.
pub(super) fn object(json: &RawValue) -> Result<CanonicalJsonObject, KeysError> {
    if json.get().len() > KEY_OBJECT_BYTES_MAX {
        return Err(KeysError::Malformed("the object is too long"));
    }
    let mut object: CanonicalJsonObject = serde_json::from_str(json.get())
        .map_err(|_| KeysError::Malformed("the object is not canonical JSON"))?;
    object.remove("unsigned");
    Ok(object)
}

/// The object as it is stored.
pub(super) fn to_json(object: &CanonicalJsonObject) -> Result<String, KeysError> {
    serde_json::to_string(object).map_err(|_| KeysError::Malformed("the object is no JSON"))
}

/// The object without what signatures do not cover: equal for objects that say the same.
pub(super) fn signed_part(object: &CanonicalJsonObject) -> Result<String, KeysError> {
    to_canonical_json_string_for_signing(object)
        .map_err(|_| KeysError::Malformed("the object cannot be signed"))
}

/// Checks the identity keys of a device. Where it has an Ed25519 key, it must have signed them.
pub(super) fn device_keys(
    json: &RawValue,
    user: &UserId,
    device: &DeviceId,
) -> Result<CanonicalJsonObject, KeysError> {
    let object = object(json)?;
    if text(&object, "user_id") != Some(user.as_str())
        || text(&object, "device_id") != Some(device.as_str())
    {
        return Err(KeysError::NotYours);
    }
    let algorithms = object.get("algorithms").and_then(|value| value.as_array());
    let are_texts = |list: &[CanonicalJsonValue]| {
        list.len() <= LISTED_MAX && list.iter().all(|item| item.as_str().is_some())
    };
    if !algorithms.is_some_and(are_texts) {
        return Err(KeysError::Malformed("`algorithms` is no list of names"));
    }
    let keys = object.get("keys").and_then(|value| value.as_object());
    let keys = keys.ok_or(KeysError::Malformed("`keys` is missing"))?;
    let are_texts = keys.values().all(|key| key.as_str().is_some());
    if keys.len() > LISTED_MAX || !are_texts {
        return Err(KeysError::Malformed(
            "`keys` holds something else than keys",
        ));
    }
    let own_key_id = format!("ed25519:{device}");
    // Without an Ed25519 key nobody can be deceived by the rest: it is the clients' affair.
    let own_key = text(keys, &own_key_id).filter(|key| public_key(key).is_some());
    let Some(own_key) = own_key else {
        return Ok(object);
    };
    let identity = text(keys, &format!("curve25519:{device}"));
    if identity.is_some_and(|key| public_key(key).is_none()) {
        return Err(KeysError::Malformed("an identity key is no key"));
    }
    if !is_signed_by(&object, user, &own_key_id, own_key) {
        return Err(KeysError::InvalidSignature);
    }
    Ok(object)
}

/// Checks a one-time or fallback key; who signed it is for those who use it to see.
pub(super) fn one_time_key(key_id: &str, json: &RawValue) -> Result<NewKey, KeysError> {
    let content = json.get();
    let (algorithm, name) = key_id
        .split_once(':')
        .ok_or(KeysError::Malformed("a key id has no algorithm"))?;
    if key_id.len() > KEY_ID_BYTES_MAX || algorithm.is_empty() || name.is_empty() {
        return Err(KeysError::Malformed("a key id is not valid"));
    }
    if content.len() > ONE_TIME_KEY_BYTES_MAX {
        return Err(KeysError::Malformed("a one-time key is too long"));
    }
    let value: CanonicalJsonValue = serde_json::from_str(content)
        .map_err(|_| KeysError::Malformed("a one-time key is not canonical JSON"))?;
    // What cannot be read would break those who pass it on. Whether it is a key of its algorithm is the clients' affair: they look
    // at it before they use it, and a server could give them another one anyhow.
    let is_key = |key: Option<&str>| key.is_some_and(|key| !key.is_empty());
    let is_good = match (algorithm, &value) {
        ("curve25519", CanonicalJsonValue::String(key)) => is_key(Some(key.as_str())),
        ("curve25519", _) => false,
        ("signed_curve25519", CanonicalJsonValue::Object(object)) => {
            let signatures = object.get("signatures").and_then(|value| value.as_object());
            signatures.is_some_and(|signatures| !signatures.is_empty())
                && is_key(text(object, "key"))
        }
        ("signed_curve25519", _) => false,
        (_, value) => matches!(
            value,
            CanonicalJsonValue::String(_) | CanonicalJsonValue::Object(_)
        ),
    };
    if !is_good {
        return Err(KeysError::Malformed("a one-time key is no key"));
    }
    Ok(NewKey {
        key_id: key_id.to_owned(),
        algorithm: algorithm.to_owned(),
        content: value.to_string(),
    })
}

/// Checks a cross-signing key. Signatures are checked by who knows the master key.
pub(super) fn cross_signing_key(
    json: &RawValue,
    user: &UserId,
    usage: KeyUsage,
) -> Result<CheckedKey, KeysError> {
    let object = object(json)?;
    if text(&object, "user_id") != Some(user.as_str()) {
        return Err(KeysError::NotYours);
    }
    let name = match usage {
        KeyUsage::Master => "master",
        KeyUsage::SelfSigning => "self_signing",
        KeyUsage::UserSigning => "user_signing",
    };
    let usages = object.get("usage").and_then(|value| value.as_array());
    if !usages.is_some_and(|usages| usages.iter().any(|usage| usage.as_str() == Some(name))) {
        return Err(KeysError::Malformed(
            "a key has not the usage that it is sent for",
        ));
    }
    let public_key = the_key(&object)
        .ok_or(KeysError::Malformed(
            "`keys` holds not exactly one Ed25519 key",
        ))?
        .to_owned();
    Ok(CheckedKey {
        usage,
        public_key,
        object,
    })
}

/// The only public key of a cross-signing key object, if it is named after itself.
pub(super) fn the_key(object: &CanonicalJsonObject) -> Option<&str> {
    let keys = object.get("keys")?.as_object()?;
    let (key_id, key) = keys.iter().next().filter(|_| keys.len() == 1)?;
    let key = key.as_str()?;
    (key_id.strip_prefix("ed25519:") == Some(key) && public_key(key).is_some()).then_some(key)
}

/// The signatures in an object that a user made, as (key id, signature).
pub(super) fn signatures_of<'a>(
    object: &'a CanonicalJsonObject,
    user: &UserId,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    object
        .get("signatures")
        .and_then(|value| value.as_object())
        .and_then(|signatures| signatures.get(user.as_str()))
        .and_then(|value| value.as_object())
        .into_iter()
        .flatten()
        .filter_map(|(key_id, signature)| Some((key_id.as_str(), signature.as_str()?)))
}

/// Whether the object bears a good signature of the user by this key.
pub(super) fn is_signed_by(
    object: &CanonicalJsonObject,
    user: &UserId,
    key_id: &str,
    public: &str,
) -> bool {
    let signature = signatures_of(object, user).find(|(id, _)| *id == key_id);
    signature.is_some_and(|(_, signature)| is_good(object, signature, public))
}

/// Whether a signature over the object was made by this key.
pub(super) fn is_good(object: &CanonicalJsonObject, signature: &str, public: &str) -> bool {
    let Some(public) = public_key(public) else {
        return false;
    };
    let Ok(signature) = Base64::<ruma::serde::base64::Standard>::parse(signature) else {
        return false;
    };
    let Ok(signed) = to_canonical_json_string_for_signing(object) else {
        return false;
    };
    let algorithm = SigningKeyAlgorithm::Ed25519;
    verify_canonical_json_bytes(&algorithm, &public, signature.as_bytes(), signed.as_bytes())
        .is_ok()
}

/// Adds a signature to an object.
pub(super) fn add_signature(
    object: &mut CanonicalJsonObject,
    user: &UserId,
    key_id: &str,
    signature: &str,
) {
    let empty = || CanonicalJsonValue::Object(CanonicalJsonObject::new());
    let all = object.entry("signatures".to_owned()).or_insert_with(empty);
    let Some(all) = all.as_object_mut() else {
        return;
    };
    let own = all.entry(user.to_string()).or_insert_with(empty);
    if let Some(own) = own.as_object_mut() {
        own.insert(key_id.to_owned(), signature.to_owned().into());
    }
}

pub(super) fn text<'a>(object: &'a CanonicalJsonObject, key: &str) -> Option<&'a str> {
    object.get(key).and_then(|value| value.as_str())
}

/// The bytes of a public key in base64.
fn public_key(text: &str) -> Option<Vec<u8>> {
    let key = Base64::<ruma::serde::base64::Standard>::parse(text).ok()?;
    (key.as_bytes().len() == PUBLIC_KEY_BYTES).then(|| key.as_bytes().to_vec())
}
