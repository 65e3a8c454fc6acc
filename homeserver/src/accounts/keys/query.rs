//! Asking for public keys, local and remote together.
//!
//! Invariant: local keys cost one read a table at most, whatever the number of users; servers are
//! asked all at once, each with a limit in time, and one that fails is named and stops nobody. A
//! user-signing key is shown to its owner alone, and so are the signatures made with it.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery>

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedDeviceId, OwnedServerName, OwnedUserId, UserId,
};
use serde_json::value::RawValue;

use super::{Keys, RemoteUserKeys, check};
use crate::store::{ForeignSignature, KeyUsage, StoreError, UserKeys};

/// The longest that a client may make us wait for other servers.
const TIMEOUT_MAX: Duration = Duration::from_secs(20);
/// How many servers are asked at once.
const SERVERS_AT_ONCE_MAX: usize = 50;

/// Whose keys are wanted.
#[derive(Clone, Debug, Default)]
pub struct KeyQuery {
    /// By user; no devices named means all.
    pub users: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
    /// How long to wait for other servers.
    pub timeout: Duration,
}

/// Keys by user.
#[derive(Clone, Debug, Default)]
pub struct QueryAnswer {
    /// Of devices.
    pub device_keys: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, Box<RawValue>>>,
    /// Master keys.
    pub master_keys: BTreeMap<OwnedUserId, Box<RawValue>>,
    /// Self-signing keys.
    pub self_signing_keys: BTreeMap<OwnedUserId, Box<RawValue>>,
    /// The requester's own user-signing key.
    pub user_signing_keys: BTreeMap<OwnedUserId, Box<RawValue>>,
    /// Servers that did not answer.
    pub failures: Vec<OwnedServerName>,
}

type ByServer = BTreeMap<OwnedServerName, BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>>;

impl Keys {
    /// The keys of users, as `requester` may see them; as another server may, if there is none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn query(
        &self,
        requester: Option<&UserId>,
        query: KeyQuery,
    ) -> Result<QueryAnswer, StoreError> {
        let mut answer = QueryAnswer::default();
        let (local, remote): (BTreeMap<_, _>, BTreeMap<_, _>) = query
            .users
            .into_iter()
            .partition(|(user, _)| self.is_local(user));
        self.query_local(requester, &local, &mut answer).await?;
        if let Some(requester) = requester {
            self.query_remote(remote, query.timeout, &mut answer).await;
            let signatures = self.store.signatures_by(requester).await?;
            if !signatures.is_empty() {
                add_own_signatures(&mut answer, requester, &signatures);
            }
        }
        Ok(answer)
    }

    async fn query_local(
        &self,
        requester: Option<&UserId>,
        users: &BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
        answer: &mut QueryAnswer,
    ) -> Result<(), StoreError> {
        let ids: Vec<&UserId> = users.keys().map(|user| &**user).collect();
        let found = self.store.keys_of(&ids).await?;
        for (user, wanted) in users {
            if let Some(keys) = found.get(user) {
                let is_own = requester == Some(user);
                answer.add_local(user, wanted, keys, is_own);
            }
        }
        // What people call their devices is for users of this server; others need not know.
        if requester.is_some() {
            let names = self.store.device_names_of(&ids).await?;
            answer.add_names(&names);
        }
        Ok(())
    }

    async fn query_remote(
        &self,
        users: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
        timeout: Duration,
        answer: &mut QueryAnswer,
    ) {
        let mut by_server = ByServer::new();
        for (user, devices) in users {
            let server = user.server_name().to_owned();
            by_server.entry(server).or_default().insert(user, devices);
        }
        let timeout = timeout.min(TIMEOUT_MAX);
        let mut answers = stream::iter(by_server)
            .map(|(server, users)| async move {
                let found = self.remote.query(&server, users.clone(), timeout).await;
                (server, users, found)
            })
            .buffer_unordered(SERVERS_AT_ONCE_MAX);
        while let Some((server, asked, found)) = answers.next().await {
            match found {
                Ok(found) => {
                    let of_asked = found
                        .into_iter()
                        .filter(|(user, _)| asked.contains_key(user));
                    for (user, keys) in of_asked {
                        answer.add_remote(&user, keys);
                    }
                }
                Err(_) => answer.failures.push(server),
            }
        }
    }

    /// The master keys of users, local or remote, as canonical objects. Their servers are asked all
    /// at once, each with one question.
    pub(super) async fn master_keys<'a>(
        &self,
        users: impl Iterator<Item = &'a UserId>,
    ) -> Result<BTreeMap<OwnedUserId, CanonicalJsonObject>, StoreError> {
        let query = KeyQuery {
            users: users.map(|user| (user.to_owned(), Vec::new())).collect(),
            timeout: TIMEOUT_MAX,
        };
        let mut answer = QueryAnswer::default();
        let (local, remote): (BTreeMap<_, _>, BTreeMap<_, _>) = query
            .users
            .into_iter()
            .partition(|(user, _)| self.is_local(user));
        self.query_local(None, &local, &mut answer).await?;
        self.query_remote(remote, query.timeout, &mut answer).await;
        let keys = answer.master_keys.into_iter();
        let read = keys.filter_map(|(user, key)| Some((user, check::object(&key).ok()?)));
        Ok(read.collect())
    }
}

impl QueryAnswer {
    fn add_local(
        &mut self,
        user: &UserId,
        wanted: &[OwnedDeviceId],
        keys: &UserKeys,
        is_own: bool,
    ) {
        let is_wanted = |device: &OwnedDeviceId| wanted.is_empty() || wanted.contains(device);
        let devices = keys
            .devices
            .iter()
            .filter(|(device, _)| is_wanted(device))
            .map(|(device, keys)| (device.clone(), keys.clone()))
            .collect();
        self.device_keys.insert(user.to_owned(), devices);
        for (usage, key) in &keys.cross_signing {
            let keys = match usage {
                KeyUsage::Master => &mut self.master_keys,
                KeyUsage::SelfSigning => &mut self.self_signing_keys,
                KeyUsage::UserSigning if is_own => &mut self.user_signing_keys,
                KeyUsage::UserSigning => continue,
            };
            keys.insert(user.to_owned(), key.content.clone());
        }
    }

    /// Adds what the devices are called. It is not stored with the keys, since nothing signs it.
    fn add_names(&mut self, names: &HashMap<(OwnedUserId, OwnedDeviceId), String>) {
        for (user, devices) in &mut self.device_keys {
            for (device, keys) in devices {
                let Some(name) = names.get(&(user.clone(), device.clone())) else {
                    continue;
                };
                let Ok(mut object) = check::object(keys) else {
                    continue;
                };
                let name = CanonicalJsonValue::String(name.clone());
                let unsigned = BTreeMap::from([("device_display_name".to_owned(), name)]);
                object.insert("unsigned".to_owned(), CanonicalJsonValue::Object(unsigned));
                let json = check::to_json(&object).map(RawValue::from_string);
                if let Ok(Ok(json)) = json {
                    *keys = json;
                }
            }
        }
    }

    fn add_remote(&mut self, user: &UserId, keys: RemoteUserKeys) {
        let devices = keys
            .devices
            .into_iter()
            .filter(|(device, keys)| {
                check::object(keys).is_ok_and(|object| {
                    check::text(&object, "user_id") == Some(user.as_str())
                        && check::text(&object, "device_id") == Some(device.as_str())
                })
            })
            .collect();
        self.device_keys.insert(user.to_owned(), devices);
        let is_theirs = |key: &RawValue| {
            check::object(key)
                .is_ok_and(|object| check::text(&object, "user_id") == Some(user.as_str()))
        };
        if let Some(key) = keys.master.filter(|key| is_theirs(key)) {
            self.master_keys.insert(user.to_owned(), key);
        }
        if let Some(key) = keys.self_signing.filter(|key| is_theirs(key)) {
            self.self_signing_keys.insert(user.to_owned(), key);
        }
    }
}

/// Adds the requester's own signatures to others' master keys.
fn add_own_signatures(
    answer: &mut QueryAnswer,
    requester: &UserId,
    signatures: &HashMap<String, Vec<ForeignSignature>>,
) {
    for (user, key) in &mut answer.master_keys {
        let Ok(mut object) = check::object(key) else {
            continue;
        };
        let Some(made) = check::the_key(&object).and_then(|key| signatures.get(key)) else {
            continue;
        };
        for signature in made.iter().filter(|made| made.target_user == *user) {
            check::add_signature(
                &mut object,
                requester,
                &signature.key_id,
                &signature.signature,
            );
        }
        if let Ok(json) = check::to_json(&object)
            && let Ok(json) = RawValue::from_string(json)
        {
            *key = json;
        }
    }
}
