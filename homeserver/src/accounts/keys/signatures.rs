//! Uploading signatures over keys.
//!
//! Invariant: a signature is stored only after it was verified, with a key of the requester that
//! may make it: self-signing for own devices, a device for the own master key, user-signing for
//! others' master keys.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload>

use std::collections::BTreeMap;

use ruma::{CanonicalJsonObject, OwnedUserId, UserId};
use serde_json::value::RawValue;

use super::{Keys, KeysError, check};
use crate::store::{AddSignatures, ForeignSignature, KeyUsage, SignedObject, StoreError, UserKeys};

/// How many objects one request may sign.
const OBJECTS_MAX: usize = 1000;
/// How many users one request may sign: each may live on another server.
const USERS_MAX: usize = 100;

/// How often signatures are judged anew because others of the same user's devices came first.
const TRIES_MAX: usize = 16;

/// What could not be stored and why, by user and key.
pub type SignatureFailures = BTreeMap<OwnedUserId, BTreeMap<String, KeysError>>;

impl Keys {
    /// Stores the signatures that `signer` has added to key objects, given as user, name of the
    /// key, and object.
    ///
    /// # Errors
    /// [`KeysError::TooMany`]; [`KeysError::Store`]. What fails singly is answered.
    pub async fn upload_signatures<'a>(
        &self,
        signer: &UserId,
        signed: impl IntoIterator<Item = (&'a UserId, &'a str, &'a RawValue)>,
    ) -> Result<SignatureFailures, KeysError> {
        let signed: Vec<_> = signed.into_iter().collect();
        let users: std::collections::BTreeSet<_> = signed.iter().map(|(user, ..)| *user).collect();
        if signed.len() > OBJECTS_MAX || users.len() > USERS_MAX {
            return Err(KeysError::TooMany);
        }
        let others = users.iter().copied().filter(|user| *user != signer);
        let masters = self.master_keys(others).await?;
        for _ in 0..TRIES_MAX {
            let keys = self.own_keys(signer).await?;
            let (change, failures) = judge(signer, &keys, &masters, &signed)?;
            let is_empty = change.own.is_empty() && change.foreign.is_empty();
            if is_empty || self.store.commit(change).await?.output {
                return Ok(failures);
            }
            // A key has changed since it was read: another signature came, which both must bear.
        }
        let mut failures = SignatureFailures::new();
        for (user, name, _) in signed {
            let error = KeysError::Malformed("the keys change too often to be signed now");
            let of_user = failures.entry(user.to_owned()).or_default();
            of_user.insert(name.to_owned(), error);
        }
        Ok(failures)
    }
}

/// What of some signed objects is good, and what is not.
fn judge(
    signer: &UserId,
    keys: &UserKeys,
    masters: &BTreeMap<OwnedUserId, CanonicalJsonObject>,
    signed: &[(&UserId, &str, &RawValue)],
) -> Result<(AddSignatures, SignatureFailures), StoreError> {
    let mut change = AddSignatures {
        signer: signer.to_owned(),
        own: Vec::new(),
        foreign: Vec::new(),
    };
    let mut failures = SignatureFailures::new();
    for &(user, name, json) in signed {
        let outcome = if user == signer {
            own(signer, keys, name, json).map(|object| change.own.push(object))
        } else {
            foreign(signer, keys, masters.get(user), user, name, json)
                .map(|made| change.foreign.push(made))
        };
        match outcome {
            Ok(()) => {}
            Err(KeysError::Store(error)) => return Err(error),
            Err(error) => {
                let of_user = failures.entry(user.to_owned()).or_default();
                of_user.insert(name.to_owned(), error);
            }
        }
    }
    Ok((change, failures))
}

/// A signature over somebody else's master key, as it stands at their server.
fn foreign(
    signer: &UserId,
    keys: &UserKeys,
    master: Option<&CanonicalJsonObject>,
    user: &UserId,
    name: &str,
    json: &RawValue,
) -> Result<ForeignSignature, KeysError> {
    let object = check::object(json)?;
    let user_signing = keys
        .cross_signing
        .get(&KeyUsage::UserSigning)
        .ok_or(KeysError::InvalidSignature)?;
    let master = master.ok_or(KeysError::Malformed("there is no such key"))?;
    if check::the_key(master) != Some(name) {
        return Err(KeysError::Malformed("there is no such key"));
    }
    must_say_the_same(master, &object)?;
    let key_id = format!("ed25519:{}", user_signing.public_key);
    let made = check::signatures_of(&object, signer)
        .find(|(id, _)| *id == key_id)
        .filter(|(_, signature)| check::is_good(&object, signature, &user_signing.public_key))
        .ok_or(KeysError::InvalidSignature)?;
    Ok(ForeignSignature {
        target_user: user.to_owned(),
        target_key: name.to_owned(),
        key_id,
        signature: made.1.to_owned(),
    })
}

/// Signatures over a key of one's own: a device's, or the master key.
fn own(
    signer: &UserId,
    keys: &UserKeys,
    name: &str,
    json: &RawValue,
) -> Result<SignedObject, KeysError> {
    let object = check::object(json)?;
    if let Some((device_id, stored)) = keys.devices.get_key_value(name) {
        let public = keys
            .cross_signing
            .get(&KeyUsage::SelfSigning)
            .map(|key| key.public_key.clone());
        let may_sign = |key_id: &str| {
            let name = key_id.strip_prefix("ed25519:")?;
            public.clone().filter(|public| public == name)
        };
        let after = merged(signer, stored, &object, may_sign)?;
        return Ok(SignedObject::Device {
            device_id: device_id.clone(),
            before: stored.get().to_owned(),
            after,
        });
    }
    let master = keys
        .cross_signing
        .get(&KeyUsage::Master)
        .filter(|key| key.public_key == name)
        .ok_or(KeysError::Malformed("there is no such key"))?;
    let may_sign = |key_id: &str| {
        let device = key_id.strip_prefix("ed25519:")?;
        let object = check::object(keys.devices.get(device)?).ok()?;
        let keys = object.get("keys")?.as_object()?;
        Some(check::text(keys, key_id)?.to_owned())
    };
    let after = merged(signer, &master.content, &object, may_sign)?;
    Ok(SignedObject::Master {
        before: master.content.get().to_owned(),
        after,
    })
}

/// The stored object with the new signatures, each verified with the key that `may_sign` gives for
/// its id. Ids that it does not know are passed over, unless none is left.
fn merged(
    signer: &UserId,
    stored: &RawValue,
    signed: &CanonicalJsonObject,
    may_sign: impl Fn(&str) -> Option<String>,
) -> Result<String, KeysError> {
    let mut object = check::object(stored)?;
    must_say_the_same(&object, signed)?;
    let mut verified = 0;
    for (key_id, signature) in check::signatures_of(signed, signer) {
        let Some(public) = may_sign(key_id) else {
            continue;
        };
        if !check::is_good(signed, signature, &public) {
            return Err(KeysError::InvalidSignature);
        }
        check::add_signature(&mut object, signer, key_id, signature);
        verified += 1;
    }
    if verified == 0 {
        return Err(KeysError::InvalidSignature);
    }
    check::to_json(&object)
}

fn must_say_the_same(
    stored: &CanonicalJsonObject,
    signed: &CanonicalJsonObject,
) -> Result<(), KeysError> {
    if check::signed_part(stored)? == check::signed_part(signed)? {
        Ok(())
    } else {
        Err(KeysError::Malformed(
            "the object is not the one that is stored",
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use ruma::{
        OwnedDeviceId, OwnedServerName, ServerName, owned_server_name, owned_user_id,
        serde::JsonObject, user_id,
    };
    use serde_json::value::to_raw_value;

    use super::{
        super::{Answering, RemoteClaims, RemoteKeys, RemoteOneTimeKeys, RemoteUserKeys},
        *,
    };
    use crate::store::{Store, StoreOptions};

    /// Servers that know no keys, and note who is asked.
    #[derive(Debug, Default)]
    struct Asked(Mutex<Vec<OwnedServerName>>);

    impl RemoteKeys for Asked {
        fn query<'a>(
            &'a self,
            server: &'a ServerName,
            _: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
            _: Duration,
        ) -> Answering<'a, BTreeMap<OwnedUserId, RemoteUserKeys>> {
            self.0.lock().unwrap().push(server.to_owned());
            Box::pin(async { Ok(BTreeMap::new()) })
        }

        fn claim<'a>(
            &'a self,
            _: &'a ServerName,
            _: RemoteClaims,
            _: Duration,
        ) -> Answering<'a, RemoteOneTimeKeys> {
            Box::pin(async { Ok(RemoteOneTimeKeys::new()) })
        }
    }

    #[tokio::test]
    async fn each_server_is_asked_once_however_much_is_signed() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("x.db").display());
        let store = Store::open(&StoreOptions::new(url)).await.unwrap();
        let asked = Arc::new(Asked::default());
        let remote: Arc<dyn RemoteKeys> = Arc::clone(&asked) as _;
        let keys = Keys::new(store, owned_server_name!("x.org"), remote);
        let users = [
            owned_user_id!("@a:one.org"),
            owned_user_id!("@b:one.org"),
            owned_user_id!("@c:two.org"),
        ];
        let object = to_raw_value(&JsonObject::new()).unwrap();
        let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let signed = users
            .iter()
            .flat_map(|user| names.iter().map(|name| (&**user, name.as_str(), &*object)));
        let alice = user_id!("@alice:x.org");
        let failures = keys.upload_signatures(alice, signed).await.unwrap();
        assert_eq!(failures.values().map(BTreeMap::len).sum::<usize>(), 60);
        let asked = asked.0.lock().unwrap();
        assert_eq!(asked.len(), 2);
        assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), 2);
    }
}
