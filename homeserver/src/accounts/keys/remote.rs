//! Keys of other servers' users, asked for over federation.
//!
//! Invariant: an answer counts only for users of the server that gave it, who were asked for, and
//! for devices that it names as theirs; a question has a limit in time.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption>

use std::{collections::BTreeMap, fmt::Debug, future::Future, pin::Pin, time::Duration};

use ruma::{
    OneTimeKeyAlgorithm, OwnedDeviceId, OwnedUserId, ServerName,
    api::federation::keys::{claim_keys, get_keys},
};
use serde_json::value::RawValue;

use crate::outbound::{Bounds, Remote, RemoteError};

/// Another server did not answer.
#[derive(Debug, thiserror::Error)]
#[error("another server did not answer: {0}")]
pub struct RemoteKeysError(#[from] RemoteError);

/// Public keys of one remote user.
#[derive(Clone, Debug, Default)]
pub struct RemoteUserKeys {
    /// Of each device.
    pub devices: BTreeMap<OwnedDeviceId, Box<RawValue>>,
    /// The master key.
    pub master: Option<Box<RawValue>>,
    /// The self-signing key.
    pub self_signing: Option<Box<RawValue>>,
}

/// One-time keys by user, device and key id.
pub type RemoteOneTimeKeys =
    BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, BTreeMap<String, Box<RawValue>>>>;

/// Which algorithm is wanted of which device of which user.
pub type RemoteClaims = BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, OneTimeKeyAlgorithm>>;

/// An answer that is on its way.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, RemoteKeysError>> + Send + 'a>>;

/// How other servers are asked for keys.
pub trait RemoteKeys: Debug + Send + Sync + 'static {
    /// Asks one server for the keys of some of its users; no devices named means all.
    fn query<'a>(
        &'a self,
        server: &'a ServerName,
        users: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
        timeout: Duration,
    ) -> Answering<'a, BTreeMap<OwnedUserId, RemoteUserKeys>>;

    /// Asks one server for one-time keys.
    fn claim<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: RemoteClaims,
        timeout: Duration,
    ) -> Answering<'a, RemoteOneTimeKeys>;
}

/// The limits for an answer that a client waits for.
fn bounds(timeout: Duration) -> Bounds {
    Bounds {
        timeout,
        ..Bounds::large(timeout)
    }
}

impl RemoteKeys for Remote {
    fn query<'a>(
        &'a self,
        server: &'a ServerName,
        users: BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>,
        timeout: Duration,
    ) -> Answering<'a, BTreeMap<OwnedUserId, RemoteUserKeys>> {
        Box::pin(async move {
            let request = get_keys::v1::Request::new(users);
            let answer = self.call(server, request, bounds(timeout)).await?;
            let mut keys: BTreeMap<OwnedUserId, RemoteUserKeys> = BTreeMap::new();
            for (user, devices) in answer.device_keys {
                keys.entry(user).or_default().devices = devices
                    .into_iter()
                    .map(|(device, keys)| (device, keys.into_json()))
                    .collect();
            }
            for (user, key) in answer.master_keys {
                keys.entry(user).or_default().master = Some(key.into_json());
            }
            for (user, key) in answer.self_signing_keys {
                keys.entry(user).or_default().self_signing = Some(key.into_json());
            }
            Ok(keys)
        })
    }

    fn claim<'a>(
        &'a self,
        server: &'a ServerName,
        wanted: RemoteClaims,
        timeout: Duration,
    ) -> Answering<'a, RemoteOneTimeKeys> {
        Box::pin(async move {
            let request = claim_keys::v1::Request::new(wanted);
            let answer = self.call(server, request, bounds(timeout)).await?;
            let keys = answer.one_time_keys.into_iter().map(|(user, devices)| {
                let devices = devices.into_iter().map(|(device, keys)| {
                    let keys = keys
                        .into_iter()
                        .map(|(id, key)| (id.to_string(), key.into_json()));
                    (device, keys.collect())
                });
                (user, devices.collect())
            });
            Ok(keys.collect())
        })
    }
}
