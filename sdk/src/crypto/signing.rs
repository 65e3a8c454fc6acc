//! Signed JSON: signing our objects and checking others'.
//!
//! Invariant: a signature is checked with a key that the caller names by its public part, never with one that the object brings
//! along under some id. Spec: <https://spec.matrix.org/v1.19/appendices/#signing-json>

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, UserId,
    serde::{JsonObject, Raw},
};
use serde_json::Value;
use vodozemac::{Ed25519PublicKey, Ed25519Signature};

use super::error::CryptoError;

/// The bytes that are signed: canonical JSON without `signatures` and `unsigned`. `None` if the object has no canonical form.
pub(super) fn signed_bytes(object: &JsonObject) -> Option<Vec<u8>> {
    let signed = |name: &str| name != "signatures" && name != "unsigned";
    canonical(object.iter().filter(|(name, _)| signed(name)))
}

/// The whole object as canonical JSON. `None` if it has no canonical form.
pub(super) fn canonical_bytes(object: &JsonObject) -> Option<Vec<u8>> {
    canonical(object.iter())
}

fn canonical<'a>(fields: impl Iterator<Item = (&'a String, &'a Value)>) -> Option<Vec<u8>> {
    let mut canonical = CanonicalJsonObject::new();
    for (name, value) in fields {
        canonical.insert(
            name.clone(),
            CanonicalJsonValue::try_from(value.clone()).ok()?,
        );
    }
    serde_json::to_vec(&canonical).ok()
}

/// Whether the object carries a valid signature of that key, under the user's name and the key id `ed25519:NAME`.
pub(super) fn is_signed_by(
    object: &JsonObject,
    user_id: &UserId,
    key_name: &str,
    key: &Ed25519PublicKey,
) -> bool {
    let signature = object
        .get("signatures")
        .and_then(|signatures| signatures.get(user_id.as_str()))
        .and_then(|signatures| signatures.get(format!("ed25519:{key_name}")))
        .and_then(Value::as_str)
        .and_then(|signature| Ed25519Signature::from_base64(signature).ok());
    match (signature, signed_bytes(object)) {
        (Some(signature), Some(bytes)) => key.verify(&bytes, &signature).is_ok(),
        _ => false,
    }
}

/// Adds a signature under the user's name and the key id `ed25519:NAME`.
pub(super) fn sign(
    object: &mut JsonObject,
    user_id: &UserId,
    key_name: &str,
    sign: impl FnOnce(&[u8]) -> Ed25519Signature,
) -> Result<(), CryptoError> {
    let signature = sign(&signed_bytes(object).ok_or(CryptoError::Key)?).to_base64();
    let signatures = object
        .entry("signatures")
        .or_insert_with(|| Value::Object(JsonObject::new()));
    let of_user = signatures
        .as_object_mut()
        .ok_or(CryptoError::Key)?
        .entry(user_id.as_str())
        .or_insert_with(|| Value::Object(JsonObject::new()));
    of_user
        .as_object_mut()
        .ok_or(CryptoError::Key)?
        .insert(format!("ed25519:{key_name}"), Value::String(signature));
    Ok(())
}

/// The object as raw JSON of a type of ruma's.
pub(super) fn into_raw<T>(object: JsonObject) -> Result<Raw<T>, CryptoError> {
    Raw::from_json_string(Value::Object(object).to_string()).map_err(|_| CryptoError::Key)
}

/// A key for reading, in groups of four characters.
pub(super) fn grouped(key: &str) -> String {
    let characters: Vec<char> = key.chars().collect();
    let groups: Vec<String> = characters
        .chunks(4)
        .map(|group| group.iter().collect())
        .collect();
    groups.join(" ")
}

/// A key as typed or read aloud, without the spaces.
pub(super) fn ungrouped(fingerprint: &str) -> String {
    fingerprint.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use vodozemac::Ed25519SecretKey;

    use super::*;

    fn signed(key: &Ed25519SecretKey) -> JsonObject {
        let mut object: JsonObject =
            serde_json::from_str(r#"{"b":1,"a":"x","unsigned":{"c":2}}"#).unwrap();
        sign(&mut object, user_id!("@alice:a.example"), "DEV", |bytes| {
            key.sign(bytes)
        })
        .unwrap();
        object
    }

    #[test]
    fn a_signature_covers_everything_but_signatures_and_unsigned() {
        let key = Ed25519SecretKey::new();
        let alice = user_id!("@alice:a.example");
        let mut object = signed(&key);
        assert!(is_signed_by(&object, alice, "DEV", &key.public_key()));
        object.insert("unsigned".to_owned(), Value::Null);
        assert!(is_signed_by(&object, alice, "DEV", &key.public_key()));
        object.insert("b".to_owned(), 2.into());
        assert!(!is_signed_by(&object, alice, "DEV", &key.public_key()));
    }

    #[test]
    fn a_signature_under_another_name_or_by_another_key_does_not_count() {
        let key = Ed25519SecretKey::new();
        let object = signed(&key);
        assert!(!is_signed_by(
            &object,
            user_id!("@bob:a.example"),
            "DEV",
            &key.public_key()
        ));
        assert!(!is_signed_by(
            &object,
            user_id!("@alice:a.example"),
            "OTHER",
            &key.public_key()
        ));
        let other = Ed25519SecretKey::new().public_key();
        assert!(!is_signed_by(
            &object,
            user_id!("@alice:a.example"),
            "DEV",
            &other
        ));
    }

    #[test]
    fn a_float_has_no_canonical_form() {
        let object: JsonObject = serde_json::from_str(r#"{"a":1.5}"#).unwrap();
        assert_eq!(signed_bytes(&object), None);
    }

    #[test]
    fn a_fingerprint_is_read_in_groups_of_four() {
        assert_eq!(grouped("abcdefghij"), "abcd efgh ij");
        assert_eq!(ungrouped(" abcd  efgh\tij\n"), "abcdefghij");
    }
}
