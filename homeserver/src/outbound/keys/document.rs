//! Published keys: making our own document, and checking another server's.
//!
//! Invariant: keys come out of a document only if it names the server that was asked for and carries that server's own
//! signature under one of the keys in it.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#publishing-keys>

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use passeur_protocol::json::parse_object;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedServerName,
    ServerName,
    api::federation::discovery::{OldVerifyKey, ServerSigningKeys, VerifyKey},
    canonical_json::to_canonical_value,
    serde::Base64,
    signatures::{Ed25519KeyPair, PublicKeyMap, PublicKeySet, sign_json, verify_json},
};

use crate::{clock::Clock, store::StoredKey};

/// Largest document that is read, in bytes.
pub(super) const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// Most keys of one document that are kept, current and old each.
const KEYS_MAX: usize = 32;

/// Length of an Ed25519 public key, in bytes.
const KEY_BYTES: usize = 32;

/// How long others may rely on our keys before they ask again: two days, so that a server whose clock is a day ahead of ours
/// does not take them for expired.
const OWN_VALIDITY: Duration = Duration::from_secs(2 * 24 * 3600);

/// How far into the future a key is believed, whatever its server says, in milliseconds: 7 days.
/// <https://spec.matrix.org/v1.19/server-server-api/#publishing-keys>
pub(super) const VALIDITY_MS_MAX: i64 = 7 * 24 * 3600 * 1000;

/// Why a document is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key document is not what its server signed")]
pub struct BadDocument;

/// This server's own signing key, and what is published of it.
#[derive(Clone)]
pub struct OwnKeys {
    server_name: OwnedServerName,
    key_pair: Arc<Ed25519KeyPair>,
    /// Keys that signed once, each with the time at which it was retired.
    retired: Arc<[StoredKey]>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for OwnKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnKeys(…)")
    }
}

impl OwnKeys {
    /// The keys of `server_name`.
    pub fn new(
        server_name: OwnedServerName,
        key_pair: Arc<Ed25519KeyPair>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            server_name,
            key_pair,
            retired: Arc::default(),
            clock,
        }
    }

    /// The same, with keys that signed once.
    #[must_use]
    pub fn with_retired(self, retired: Vec<StoredKey>) -> Self {
        Self {
            retired: retired.into(),
            ..self
        }
    }

    /// Whose keys they are.
    #[must_use]
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    /// The pair that signs requests and events.
    #[must_use]
    pub fn key_pair(&self) -> &Arc<Ed25519KeyPair> {
        &self.key_pair
    }

    /// The key's name in signatures.
    #[must_use]
    pub fn key_id(&self) -> String {
        format!("ed25519:{}", self.key_pair.version())
    }

    /// The public key by its name.
    #[must_use]
    pub fn public_keys(&self) -> PublicKeySet {
        let public_key = Base64::new(self.key_pair.public_key().to_vec());
        BTreeMap::from([(self.key_id(), public_key)])
    }

    /// The keys by which a signature of this server holds that was made at `valid_at` (ms since the epoch), or ever: the
    /// present one, and those that were retired later.
    pub(super) fn keys_at(&self, valid_at: Option<i64>) -> PublicKeySet {
        let mut keys = self.public_keys();
        let retired = self.retired.iter();
        let retired = retired.filter(|key| valid_at.is_none_or(|at| at <= key.valid_until_ts));
        keys.extend(retired.map(|key| (key.key_id.clone(), key.public_key.clone())));
        keys
    }

    /// The document of `GET /_matrix/key/v2/server`, valid for two days from now.
    ///
    /// # Errors
    /// [`BadDocument`] if it cannot be made, which a valid key pair never causes.
    pub fn document(&self) -> Result<CanonicalJsonObject, BadDocument> {
        let valid_until = self.clock.now_ms()
            + i64::try_from(OWN_VALIDITY.as_millis()).map_err(|_| BadDocument)?;
        let mut keys = ServerSigningKeys::new(self.server_name.clone(), timestamp(valid_until));
        for (id, key) in self.public_keys() {
            let id = id.as_str().try_into().map_err(|_| BadDocument)?;
            keys.verify_keys.insert(id, VerifyKey::new(key));
        }
        for key in &*self.retired {
            let id = key.key_id.as_str().try_into().map_err(|_| BadDocument)?;
            let expired = timestamp(key.valid_until_ts);
            let old = OldVerifyKey::new(expired, key.public_key.clone());
            keys.old_verify_keys.insert(id, old);
        }
        let value = to_canonical_value(&keys).map_err(|_| BadDocument)?;
        let CanonicalJsonValue::Object(mut object) = value else {
            return Err(BadDocument);
        };
        object.remove("signatures");
        self.sign(&mut object)?;
        Ok(object)
    }

    /// Adds this server's signature to an object.
    ///
    /// # Errors
    /// [`BadDocument`] if its `signatures` are no object of objects.
    pub fn sign(&self, object: &mut CanonicalJsonObject) -> Result<(), BadDocument> {
        sign_json(self.server_name.as_str(), &*self.key_pair, object).map_err(|_| BadDocument)
    }
}

/// A document that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// Current keys and old ones.
    pub(super) keys: Vec<StoredKey>,
    /// Until when the server says that it holds, in milliseconds since the epoch; at most seven days from now.
    pub(super) valid_until_ts: i64,
}

/// Checks the document of `server` at `now_ms`.
pub(super) fn check(json: &[u8], server: &ServerName, now_ms: i64) -> Result<Checked, BadDocument> {
    let mut object = parse_object(json, DOCUMENT_BYTES_MAX).map_err(|_| BadDocument)?;
    let document: ServerSigningKeys = serde_json::from_slice(json).map_err(|_| BadDocument)?;
    if document.server_name != server {
        return Err(BadDocument);
    }
    let current: PublicKeySet = document
        .verify_keys
        .iter()
        .filter(|(id, key)| is_usable(id.as_str(), &key.key))
        .take(KEYS_MAX)
        .map(|(id, key)| (id.to_string(), key.key.clone()))
        .collect();
    keep_signatures_of(&mut object, server)?;
    let signers = PublicKeyMap::from([(server.to_string(), current.clone())]);
    verify_json(&signers, &object).map_err(|_| BadDocument)?;

    let valid_until_ts =
        millis(document.valid_until_ts).min(now_ms.saturating_add(VALIDITY_MS_MAX));
    let old = document
        .old_verify_keys
        .iter()
        .filter(|(id, key)| is_usable(id.as_str(), &key.key) && !current.contains_key(id.as_str()))
        .take(KEYS_MAX)
        .map(|(id, key)| StoredKey {
            key_id: id.to_string(),
            public_key: key.key.clone(),
            valid_until_ts: millis(key.expired_ts).min(now_ms),
        });
    let mut keys: Vec<StoredKey> = old.collect();
    keys.extend(current.into_iter().map(|(key_id, public_key)| StoredKey {
        key_id,
        public_key,
        valid_until_ts,
    }));
    Ok(Checked {
        keys,
        valid_until_ts,
    })
}

/// Whether `notary`, whose keys are given, has signed a document.
pub(super) fn is_signed_by(json: &[u8], notary: &ServerName, keys: PublicKeySet) -> bool {
    let Ok(mut object) = parse_object(json, DOCUMENT_BYTES_MAX) else {
        return false;
    };
    let signers = PublicKeyMap::from([(notary.to_string(), keys)]);
    keep_signatures_of(&mut object, notary).is_ok() && verify_json(&signers, &object).is_ok()
}

/// Drops the signatures of all but one server, and fails if that one has not signed.
fn keep_signatures_of(
    object: &mut CanonicalJsonObject,
    server: &ServerName,
) -> Result<(), BadDocument> {
    let signatures = object
        .get_mut("signatures")
        .and_then(CanonicalJsonValue::as_object_mut);
    let signatures = signatures.ok_or(BadDocument)?;
    signatures.retain(|signer, _| signer == server.as_str());
    if signatures.is_empty() {
        return Err(BadDocument);
    }
    Ok(())
}

fn is_usable(key_id: &str, key: &Base64) -> bool {
    key_id.starts_with("ed25519:") && key.as_bytes().len() == KEY_BYTES
}

fn millis(time: MilliSecondsSinceUnixEpoch) -> i64 {
    time.get().into()
}

fn timestamp(ms: i64) -> MilliSecondsSinceUnixEpoch {
    MilliSecondsSinceUnixEpoch(ms.try_into().unwrap_or_default())
}
