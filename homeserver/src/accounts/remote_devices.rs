//! Devices of other servers' users: remembered while we share a room with them, asked for otherwise.
//!
//! Invariant: what is remembered is what the user's own server said, and it is used only while that server tells us of
//! changes and none was missed. A change makes local clients ask again; the list is fetched when they do, or at once if a
//! change was missed.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#device-management>

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use ruma::{
    OwnedDeviceId, OwnedUserId, ServerName, UserId,
    api::federation::{
        device::get_devices::v1 as get_devices,
        transactions::edu::{DeviceListUpdateContent, SigningKeyUpdateContent},
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::keys::{Answering, RemoteClaims, RemoteKeys, RemoteOneTimeKeys, RemoteUserKeys};
use crate::{
    outbound::{Bounds, INTERACTIVE_TIMEOUT, Remote},
    store::{
        ChangeRemoteDevices, RemoteChange, RemoteDeviceList, Scope, Store, StoreError,
        StoreRemoteDevices,
    },
};

/// Most lists of one server that one question fetches whole; of more users, the keys are only asked for.
const LISTS_FETCHED_MAX: usize = 20;

/// Lists that are fetched at once.
const LISTS_AT_ONCE_MAX: usize = 5;

/// Lists that are fetched at once because a change was missed; those of others are fetched when somebody asks for them.
const RESYNCS_MAX: usize = 20;

/// Most devices of one user that are kept.
const DEVICES_MAX: usize = 1_000;

/// Longest keys of a device or cross-signing key that are kept, in bytes.
const KEYS_BYTES_MAX: usize = 32 * 1024;

/// The devices of other servers' users.
#[derive(Debug, Clone)]
pub struct RemoteDevices {
    store: Arc<Store>,
    remote: Remote,
    /// Whose lists are being fetched because a change was missed.
    resyncs: Arc<Mutex<HashSet<OwnedUserId>>>,
}

type Wanted = BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>;

impl RemoteDevices {
    /// Lists that are kept in `store` and fetched by `remote`.
    pub fn new(store: Arc<Store>, remote: Remote) -> Self {
        Self {
            store,
            remote,
            resyncs: Arc::default(),
        }
    }

    /// Takes over what a user's server says of one device. Of users that we share no room with, nothing is taken.
    ///
    /// # Errors
    /// What the database says.
    pub async fn device_changed(&self, update: DeviceListUpdateContent) -> Result<(), StoreError> {
        let user = update.user_id;
        let keys = match (update.deleted, update.keys) {
            (Some(true), _) | (_, None) => None,
            (_, Some(keys)) => {
                let keys = keys.into_json();
                if !is_of(&keys, &user, Some(&update.device_id)) {
                    return Ok(());
                }
                Some(keys)
            }
        };
        let prev_id: Vec<i64> = update.prev_id.into_iter().map(i64::from).collect();
        let (stream_id, may_have_gap) = (update.stream_id.into(), !prev_id.is_empty());
        let change = RemoteChange::Device {
            device_id: update.device_id,
            keys,
            stream_id,
            prev_id,
        };
        // "If a server receives an EDU which refers to a prev_id it does not recognise, it MUST resynchronise its list".
        if self.change(user.clone(), change).await? == Some(false) && may_have_gap {
            self.resync(user, stream_id);
        }
        Ok(())
    }

    /// Takes over what a user's server says of the cross-signing keys.
    ///
    /// # Errors
    /// What the database says.
    pub async fn keys_changed(&self, update: SigningKeyUpdateContent) -> Result<(), StoreError> {
        let user = update.user_id;
        let own = |key: Option<ruma::serde::Raw<_>>| {
            key.map(ruma::serde::Raw::into_json)
                .filter(|key| is_of(key, &user, None))
        };
        let change = RemoteChange::CrossSigning {
            master_key: own(update.master_key),
            self_signing_key: own(update.self_signing_key),
        };
        self.change(user, change).await?;
        Ok(())
    }

    /// Takes over a change; whether the list is known and complete after it, or nothing if it is not kept.
    async fn change(
        &self,
        user_id: OwnedUserId,
        change: RemoteChange,
    ) -> Result<Option<bool>, StoreError> {
        if self
            .store
            .users_we_share_with(&[&user_id])
            .await?
            .is_empty()
        {
            return Ok(None);
        }
        let committed = self
            .store
            .commit(ChangeRemoteDevices { user_id, change })
            .await?;
        Ok(Some(committed.output))
    }

    /// Fetches a list of which a change was missed, on a task of its own, one at a time for each user.
    fn resync(&self, user: OwnedUserId, stream_id: i64) {
        {
            let mut resyncs = self.resyncs.lock().unwrap_or_else(PoisonError::into_inner);
            if resyncs.len() >= RESYNCS_MAX || !resyncs.insert(user.clone()) {
                return;
            }
        }
        let devices = self.clone();
        tokio::spawn(async move {
            devices.fetch_again(&user, stream_id).await;
            let mut resyncs = devices
                .resyncs
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            resyncs.remove(&user);
        });
    }

    /// Fetches a list as a whole, or, of a server that gives none, the keys as of the change that showed the gap.
    async fn fetch_again(&self, user: &OwnedUserId, stream_id: i64) {
        let (server, timeout) = (user.server_name(), INTERACTIVE_TIMEOUT);
        if self.fetch(server, user, timeout).await.is_some() {
            return;
        }
        let Ok(asked_at) = self.store.newest_of(Scope::Keys(user)).await else {
            return;
        };
        let wanted = Wanted::from([(user.clone(), Vec::new())]);
        let answer = self.remote.query(server, wanted, timeout).await;
        let Some(keys) = answer.ok().and_then(|mut answer| answer.remove(user)) else {
            return;
        };
        let is_own = |key: Box<RawValue>| is_of(&key, user, None).then_some(key);
        let devices = keys.devices.into_iter().take(DEVICES_MAX);
        let list = RemoteDeviceList {
            stream_id,
            devices: devices
                .filter(|(device, keys)| is_of(keys, user, Some(device)))
                .collect(),
            master_key: keys.master.and_then(is_own),
            self_signing_key: keys.self_signing.and_then(is_own),
        };
        let change = StoreRemoteDevices {
            user_id: user.clone(),
            asked_at,
            list,
        };
        if let Err(error) = self.store.commit(change).await {
            tracing::warn!(%error, "a list of devices could not be kept");
        }
    }

    /// The keys of a server's users: remembered ones, fetched lists, and plain answers for the rest.
    async fn find(
        &self,
        server: &ServerName,
        mut wanted: Wanted,
        timeout: Duration,
    ) -> Answer<BTreeMap<OwnedUserId, RemoteUserKeys>> {
        let users: Vec<&UserId> = wanted.keys().map(|user| &**user).collect();
        // A database that fails makes the answer a plain one.
        let shared = self
            .store
            .users_we_share_with(&users)
            .await
            .unwrap_or_default();
        let shared_ids: Vec<&UserId> = shared.iter().map(|user| &**user).collect();
        let mut known = self
            .store
            .remote_device_lists(&shared_ids)
            .await
            .unwrap_or_default();
        let unknown: Vec<OwnedUserId> = shared
            .into_iter()
            .filter(|user| !known.contains_key(user))
            .collect();
        if unknown.len() <= LISTS_FETCHED_MAX {
            known.extend(self.fetch_all(server, unknown, timeout).await);
        }
        let mut answer = BTreeMap::new();
        for (user, list) in known {
            let devices = wanted.remove(&user).unwrap_or_default();
            answer.insert(user, shown(list, &devices));
        }
        if !wanted.is_empty() {
            answer.extend(self.remote.query(server, wanted, timeout).await?);
        }
        Ok(answer)
    }

    /// The whole lists of users, kept; those that cannot be had are left out.
    async fn fetch_all(
        &self,
        server: &ServerName,
        users: Vec<OwnedUserId>,
        timeout: Duration,
    ) -> Vec<(OwnedUserId, RemoteDeviceList)> {
        stream::iter(users)
            .map(|user| async move {
                let list = self.fetch(server, &user, timeout).await?;
                Some((user, list))
            })
            .buffer_unordered(LISTS_AT_ONCE_MAX)
            .filter_map(async |fetched| fetched)
            .collect()
            .await
    }

    /// A list as a whole. News of the user's devices may overtake it: then it is not kept, and whoever asks next, as clients
    /// that are told of the news do, has it fetched anew.
    async fn fetch(
        &self,
        server: &ServerName,
        user: &OwnedUserId,
        timeout: Duration,
    ) -> Option<RemoteDeviceList> {
        let bounds = Bounds {
            timeout,
            ..Bounds::INTERACTIVE
        };
        let asked_at = self.store.newest_of(Scope::Keys(user)).await.ok()?;
        let request = get_devices::Request::new(user.clone());
        let answer = self.remote.call(server, request, bounds).await.ok()?;
        if answer.user_id != *user {
            return None;
        }
        let own = |key: Option<ruma::serde::Raw<_>>| {
            key.map(ruma::serde::Raw::into_json)
                .filter(|key| is_of(key, user, None))
        };
        let devices = answer
            .devices
            .into_iter()
            .take(DEVICES_MAX)
            .map(|device| (device.device_id, device.keys.into_json()))
            .filter(|(device, keys)| is_of(keys, user, Some(device)))
            .collect();
        let list = RemoteDeviceList {
            stream_id: answer.stream_id.into(),
            devices,
            master_key: own(answer.master_key),
            self_signing_key: own(answer.self_signing_key),
        };
        let change = StoreRemoteDevices {
            user_id: user.clone(),
            asked_at,
            list: list.clone(),
        };
        self.store.commit(change).await.ok()?;
        Some(list)
    }
}

type Answer<T> = Result<T, super::keys::RemoteKeysError>;

impl RemoteKeys for RemoteDevices {
    fn query<'a>(
        &'a self,
        server: &'a ServerName,
        users: Wanted,
        timeout: Duration,
    ) -> Answering<'a, BTreeMap<OwnedUserId, RemoteUserKeys>> {
        Box::pin(self.find(server, users, timeout))
    }

    fn claim<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: RemoteClaims,
        timeout: Duration,
    ) -> Answering<'a, RemoteOneTimeKeys> {
        self.remote.claim(server, wanted, timeout)
    }
}

/// What of a list was asked for; no devices named means all.
fn shown(list: RemoteDeviceList, devices: &[OwnedDeviceId]) -> RemoteUserKeys {
    let wanted: BTreeSet<&OwnedDeviceId> = devices.iter().collect();
    let of_wanted = list
        .devices
        .into_iter()
        .filter(|(device, _)| wanted.is_empty() || wanted.contains(device));
    RemoteUserKeys {
        devices: of_wanted.collect(),
        master: list.master_key,
        self_signing: list.self_signing_key,
    }
}

/// Whether keys are of bounded length and name the user (and device) that they are said to be of.
fn is_of(keys: &RawValue, user: &UserId, device: Option<&OwnedDeviceId>) -> bool {
    #[derive(Deserialize)]
    struct Named {
        user_id: OwnedUserId,
        device_id: Option<OwnedDeviceId>,
    }
    keys.get().len() <= KEYS_BYTES_MAX
        && serde_json::from_str::<Named>(keys.get()).is_ok_and(|named| {
            named.user_id == user
                && device.is_none_or(|device| named.device_id.as_ref() == Some(device))
        })
}
