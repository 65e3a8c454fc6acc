//! The keys with which other servers sign: fetched, verified, remembered.
//!
//! Invariant: a key is believed only if its server published it under its own signature, or if a notary that the
//! configuration trusts vouches for that; and only for moments up to the end of its validity, which is at most seven days
//! after it was fetched. A server is asked at most once at a time, and after a failure only when its back-off is over.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys>

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::{self, FutureExt, Shared};
use quick_cache::sync::Cache;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerName, OwnedServerSigningKeyId, ServerName,
    serde::Base64,
    signatures::{PublicKeyMap, PublicKeySet},
};

use super::{Remote, transport::Pending};
use crate::{
    clock::Clock,
    config::FederationConfig,
    store::{Store, StoreError, StoredKey},
};

mod document;
mod fetch;
mod notary;

use self::fetch::{Criteria, criteria};
pub use self::{
    document::{BadDocument, OwnKeys},
    notary::signed_document,
};

/// Servers whose keys are kept in memory.
const SERVERS_MAX: usize = 10_000;

/// How long a server is left alone after it answered.
const PAUSE_AFTER_SUCCESS: Duration = Duration::from_secs(60);

/// How often a server is asked within that time all the same, for keys that it had not named: it may have a new one.
const EARLY_ATTEMPTS_MAX: u32 = 3;

/// How long a server is left alone after the first failure; doubled each time.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// How long a server is left alone at most.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Most servers that are asked at once for one event or transaction.
const SERVERS_AT_ONCE_MAX: usize = 16;

/// The last attempt to ask a server.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// Failures in a row.
    failures: u32,
    /// Not before this, on the monotonic clock.
    next: Duration,
    /// Attempts made before that for a key that was not known.
    early: u32,
}

/// An attempt under way, for all who wait for it.
type Flight = Shared<Pending<'static, ()>>;

/// Other servers' keys.
#[derive(Clone, Debug)]
pub struct ServerKeys(Arc<Inner>);

struct Inner {
    own: OwnKeys,
    store: Arc<Store>,
    remote: Remote,
    clock: Arc<dyn Clock>,
    notaries: Vec<OwnedServerName>,
    /// Keys that prove nothing, whoever publishes them.
    denied: Vec<Base64>,
    known: Cache<OwnedServerName, Arc<Vec<StoredKey>>>,
    attempts: Cache<OwnedServerName, Attempt>,
    flights: Mutex<HashMap<OwnedServerName, Flight>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerKeys")
    }
}

impl ServerKeys {
    /// Keys that are fetched by `remote` and kept in `store`.
    pub fn new(
        own: OwnKeys,
        store: Arc<Store>,
        remote: Remote,
        config: &FederationConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner {
            own,
            store,
            remote,
            clock,
            notaries: config.trusted_notaries.clone(),
            denied: config.denied_keys.clone(),
            known: Cache::new(SERVERS_MAX),
            attempts: Cache::new(SERVERS_MAX),
            flights: Mutex::default(),
        }))
    }

    /// This server's own keys.
    #[must_use]
    pub fn own(&self) -> &OwnKeys {
        &self.0.own
    }

    /// The keys that verify signatures of `wanted`, which names for each server the keys that it signed with (any one of
    /// them is enough). With `valid_at`, only keys that were valid then; without, any that the server ever published.
    ///
    /// What is unknown is fetched; what cannot be had is missing in the answer, so that verification fails.
    ///
    /// # Errors
    /// What the database says.
    pub async fn keys_for(
        &self,
        wanted: &BTreeMap<OwnedServerName, Vec<OwnedServerSigningKeyId>>,
        valid_at: Option<MilliSecondsSinceUnixEpoch>,
    ) -> Result<PublicKeyMap, StoreError> {
        let valid_at = valid_at.map(|at| i64::from(at.get()));
        let mut found = PublicKeyMap::new();
        let mut missing = Vec::new();
        for (server, ids) in wanted {
            let keys = self.known_keys(server, ids, valid_at).await?;
            if keys.is_empty() {
                missing.push((server, ids));
            } else {
                found.insert(server.to_string(), keys);
            }
        }
        for chunk in missing.chunks(SERVERS_AT_ONCE_MAX) {
            let asked = chunk
                .iter()
                .map(|(server, ids)| self.refresh(server, ids, valid_at));
            future::join_all(asked).await;
            for (server, ids) in chunk {
                let keys = self.known_keys(server, ids, valid_at).await?;
                if !keys.is_empty() {
                    found.insert(server.to_string(), keys);
                }
            }
        }
        Ok(found)
    }

    /// The keys among `ids` that are known and valid.
    async fn known_keys(
        &self,
        server: &ServerName,
        ids: &[OwnedServerSigningKeyId],
        valid_at: Option<i64>,
    ) -> Result<PublicKeySet, StoreError> {
        if server == self.0.own.server_name() {
            return Ok(self.0.own.keys_at(valid_at));
        }
        let known = self.load(server).await?;
        let valid = known.iter().filter(|key| {
            ids.iter().any(|id| id.as_str() == key.key_id)
                && !self.0.denied.contains(&key.public_key)
                && valid_at.is_none_or(|at| at <= key.valid_until_ts)
        });
        Ok(valid
            .map(|key| (key.key_id.clone(), key.public_key.clone()))
            .collect())
    }

    /// All stored keys of a server.
    async fn load(&self, server: &ServerName) -> Result<Arc<Vec<StoredKey>>, StoreError> {
        if let Some(known) = self.0.known.get(server) {
            return Ok(known);
        }
        let stored = Arc::new(self.0.store.server_keys(server).await?);
        if !stored.is_empty() {
            self.0.known.insert(server.to_owned(), Arc::clone(&stored));
        }
        Ok(stored)
    }

    /// Asks a server for its keys, unless that was tried lately; for the sake of `ids` that it never named, or whose time has
    /// run out, a little more often. Callers that come meanwhile wait for the same answer.
    async fn refresh(
        &self,
        server: &ServerName,
        ids: &[OwnedServerSigningKeyId],
        valid_at: Option<i64>,
    ) {
        let known = self.0.known.get(server);
        let now = self.0.clock.now_ms();
        let is_new = |id: &OwnedServerSigningKeyId| {
            let known = known.as_ref();
            known.is_some_and(|known| {
                let mut named = known.iter().filter(|key| key.key_id == id.as_str());
                // One whose time has run out since may have been given more of it.
                named.all(|key| key.valid_until_ts < now)
            })
        };
        let is_for_new = ids.iter().any(is_new);
        let wanted = criteria(ids, valid_at.unwrap_or(now));
        let Some(flight) = self.flight(server, is_for_new, wanted) else {
            return;
        };
        flight.await;
    }

    /// The attempt under way, or a new one if the back-off allows it.
    fn flight(&self, server: &ServerName, is_for_new: bool, wanted: Criteria) -> Option<Flight> {
        let mut flights = self
            .0
            .flights
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(server) {
            return Some(flight.clone());
        }
        let now = self.0.clock.monotonic();
        let early_after = self
            .0
            .attempts
            .get(server)
            .filter(|attempt| now < attempt.next);
        if early_after.is_some_and(|attempt| {
            !is_for_new || attempt.failures > 0 || attempt.early >= EARLY_ATTEMPTS_MAX
        }) {
            return None;
        }
        let inner = Arc::clone(&self.0);
        let name = server.to_owned();
        // A task of its own: it ends and clears up even if everyone who waited has gone away.
        let task = tokio::spawn(async move {
            inner.attempt(&name, wanted, early_after).await;
        });
        let pending: Pending<'static, ()> = Box::pin(task.map(|_| ()));
        let flight = pending.shared();
        flights.insert(server.to_owned(), flight.clone());
        Some(flight)
    }
}

impl Inner {
    /// One attempt, remembered with its outcome; `early_after` is the one that leaves the server alone for now.
    async fn attempt(&self, server: &ServerName, wanted: Criteria, early_after: Option<Attempt>) {
        let fetched = self.fetch(server, &wanted).await;
        let failures = match fetched {
            Ok(()) => 0,
            Err(error) => {
                tracing::debug!(%error, "a server's keys could not be had");
                let before = self
                    .attempts
                    .get(server)
                    .map_or(0, |attempt| attempt.failures);
                before.saturating_add(1)
            }
        };
        let pause = match failures {
            0 => PAUSE_AFTER_SUCCESS,
            failures => PAUSE_AFTER_FAILURE
                .saturating_mul(1 << (failures - 1).min(16))
                .min(PAUSE_MAX),
        };
        let next = self.clock.monotonic().saturating_add(pause);
        let attempt = match early_after {
            // An early answer does not put off when the server is asked again anyway.
            Some(before) if failures == 0 => Attempt {
                early: before.early + 1,
                ..before
            },
            _ => Attempt {
                failures,
                next,
                early: 0,
            },
        };
        self.attempts.insert(server.to_owned(), attempt);
        self.flights
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(server);
    }
}

#[cfg(test)]
mod tests;
