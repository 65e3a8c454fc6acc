//! Claiming one-time keys, local and remote together.
//!
//! Invariant: as for asking (`query.rs`); a local key is given out once.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim>

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use ruma::{OneTimeKeyAlgorithm, OwnedDeviceId, OwnedServerName, OwnedUserId};
use serde_json::value::RawValue;

use super::{Keys, check::one_time_key, remote::RemoteClaims};
use crate::store::{ClaimedFrom, StoreError};

/// The longest that a client may make us wait for other servers.
const TIMEOUT_MAX: Duration = Duration::from_secs(20);
/// How many servers are asked at once.
const SERVERS_AT_ONCE_MAX: usize = 50;

/// Which algorithm is wanted of which device of which user.
pub type Claims = BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, OneTimeKeyAlgorithm>>;

/// Keys by user, device and key id.
pub type ClaimedKeys =
    BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, BTreeMap<String, Box<RawValue>>>>;

/// What was claimed.
#[derive(Clone, Debug, Default)]
pub struct ClaimAnswer {
    /// The keys.
    pub keys: ClaimedKeys,
    /// Servers that did not answer.
    pub failures: Vec<OwnedServerName>,
}

impl Keys {
    /// Claims keys of local and remote devices for a client.
    ///
    /// # Errors
    /// What the database says.
    pub async fn claim(
        &self,
        wanted: Claims,
        timeout: Duration,
    ) -> Result<ClaimAnswer, StoreError> {
        let (local, remote): (BTreeMap<_, _>, BTreeMap<_, _>) = wanted
            .into_iter()
            .partition(|(user, _)| self.is_local(user));
        let mut answer = ClaimAnswer {
            keys: self.claim_local(local).await?,
            failures: Vec::new(),
        };
        self.claim_remote(remote, timeout, &mut answer).await;
        Ok(answer)
    }

    /// Claims keys of local devices, for another server as well. Users of others are passed over.
    ///
    /// # Errors
    /// What the database says.
    pub async fn claim_local(&self, wanted: Claims) -> Result<ClaimedKeys, StoreError> {
        let mut from = Vec::new();
        for (user, devices) in wanted {
            if !self.is_local(&user) {
                continue;
            }
            from.extend(devices.into_iter().map(|(device, algorithm)| ClaimedFrom {
                user_id: user.clone(),
                device_id: device,
                algorithm: algorithm.to_string(),
            }));
        }
        let mut keys: BTreeMap<_, BTreeMap<_, BTreeMap<_, _>>> = BTreeMap::new();
        for key in self.store.claim_keys(from).await? {
            let json = RawValue::from_string(key.content)
                .map_err(|_| StoreError::corrupt("one_time_keys", "content"))?;
            keys.entry(key.from.user_id)
                .or_default()
                .entry(key.from.device_id)
                .or_default()
                .insert(key.key_id, json);
        }
        Ok(keys)
    }

    async fn claim_remote(&self, wanted: Claims, timeout: Duration, answer: &mut ClaimAnswer) {
        let mut by_server: BTreeMap<OwnedServerName, RemoteClaims> = BTreeMap::new();
        for (user, devices) in wanted {
            let server = user.server_name().to_owned();
            by_server.entry(server).or_default().insert(user, devices);
        }
        let timeout = timeout.min(TIMEOUT_MAX);
        let mut answers = stream::iter(by_server)
            .map(|(server, claims)| async move {
                let found = self.remote.claim(&server, claims.clone(), timeout).await;
                (server, claims, found)
            })
            .buffer_unordered(SERVERS_AT_ONCE_MAX);
        while let Some((server, asked, found)) = answers.next().await {
            let Ok(found) = found else {
                answer.failures.push(server);
                continue;
            };
            for (user, devices) in found {
                let Some(asked) = asked.get(&user) else {
                    continue;
                };
                let devices = devices
                    .into_iter()
                    .filter(|(device, _)| asked.contains_key(device))
                    // One that is no key stands in the way of no other.
                    .map(|(device, mut keys)| {
                        keys.retain(|id, key| one_time_key(id, key).is_ok());
                        (device, keys)
                    });
                answer.keys.insert(user, devices.collect());
            }
        }
    }
}
