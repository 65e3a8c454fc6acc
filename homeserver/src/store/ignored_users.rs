//! Whom a user ignores: the account data `m.ignored_user_list`, remembered as a set.
//!
//! Invariant: the cache drops a user's set in the commit that changes it.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#ignoring-users>

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use quick_cache::sync::Cache;
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, de::IgnoredAny};

use super::{LogKind, Published, Store, StoreError};

/// The type of the account data.
const IGNORED_USER_LIST: &str = "m.ignored_user_list";
/// How many users' sets are remembered; most are empty.
const CACHED_MAX: usize = 20_000;

/// Sets as remembered.
#[derive(Debug)]
pub(super) struct IgnoredCache {
    sets: Cache<Box<str>, Arc<HashSet<OwnedUserId>>>,
    changes: Mutex<u64>,
}

impl IgnoredCache {
    pub(super) fn new() -> Self {
        Self {
            sets: Cache::new(CACHED_MAX),
            changes: Mutex::new(0),
        }
    }

    /// Drops the sets that a commit has changed.
    pub(super) fn on_commit(&self, published: &Published) {
        let changed = published.rows.iter().filter(|row| {
            row.kind == LogKind::AccountData && row.reference.as_deref() == Some(IGNORED_USER_LIST)
        });
        for user in changed.filter_map(|row| row.scope.strip_prefix('u')) {
            *self.changes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.sets.remove(user);
        }
    }
}

impl Store {
    /// Whom a local user ignores; never the user.
    ///
    /// # Errors
    /// What the database says.
    pub async fn ignored_users(
        &self,
        user: &UserId,
    ) -> Result<Arc<HashSet<OwnedUserId>>, StoreError> {
        let cache = &self.ignored_cache;
        if let Some(ignored) = cache.sets.get(user.as_str()) {
            return Ok(ignored);
        }
        let lock = || cache.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = *lock();
        let stored = self.account_datum(user, None, IGNORED_USER_LIST).await?;
        let mut ignored = stored.as_deref().map(ignored_in).unwrap_or_default();
        ignored.remove(user);
        let ignored = Arc::new(ignored);
        let changes = lock();
        if *changes == mark {
            cache
                .sets
                .insert(user.as_str().into(), Arc::clone(&ignored));
        }
        drop(changes);
        Ok(ignored)
    }
}

/// The users whom the content names; what is no user id is passed over.
fn ignored_in(content: &str) -> HashSet<OwnedUserId> {
    #[derive(Deserialize)]
    struct Content {
        ignored_users: BTreeMap<String, IgnoredAny>,
    }
    let content = serde_json::from_str::<Content>(content);
    let users = content.map(|content| content.ignored_users.into_keys());
    users
        .map(|users| users.filter_map(|user| user.try_into().ok()).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_list_ignores_nobody() {
        for content in ["{}", "[]", r#"{"ignored_users":["@a:x.org"]}"#] {
            assert!(ignored_in(content).is_empty(), "{content}");
        }
        let found = ignored_in(r#"{"ignored_users":{"@a:x.org":{},"nobody":{}}}"#);
        assert_eq!(found.len(), 1);
    }
}
