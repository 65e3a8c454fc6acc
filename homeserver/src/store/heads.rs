//! What was committed last: the head of the log, and the newest position of each scope.
//!
//! Invariant: a position in the cache is never below what is committed for its scope; a scope that
//! is not in the cache is unknown and must be asked for. The head moves only after the commit.

use std::sync::{Mutex, PoisonError, RwLock};

use quick_cache::sync::Cache;
use tokio::sync::watch;

use super::Published;

/// How many scopes are remembered; each costs about 150 bytes.
const SCOPES_MAX: usize = 200_000;

/// Called after each commit.
type Hook = Box<dyn Fn(&Published) + Send + Sync>;

/// The heads of the log.
pub struct Heads {
    head: watch::Sender<i64>,
    newest: Cache<Box<str>, i64>,
    /// How many commits there were; guards `newest`, and caches elsewhere, against a reader that
    /// learnt something older meanwhile.
    commits: Mutex<i64>,
    hooks: RwLock<Vec<Hook>>,
}

impl std::fmt::Debug for Heads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heads")
            .field("head", &*self.head.borrow())
            .finish_non_exhaustive()
    }
}

impl Heads {
    pub(super) fn new(head: i64) -> Self {
        Self {
            head: watch::Sender::new(head),
            newest: Cache::new(SCOPES_MAX),
            commits: Mutex::new(0),
            hooks: RwLock::default(),
        }
    }

    /// The newest committed position of the whole log.
    pub fn head(&self) -> i64 {
        *self.head.borrow()
    }

    /// A receiver that wakes at every commit.
    pub fn watch(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// The newest position of a scope in its text form, if it is remembered.
    pub fn of(&self, scope: &str) -> Option<i64> {
        self.newest.get(scope)
    }

    /// The mark to take before asking the database for something that is then cached: if it is
    /// another one afterwards, what was read may be older than the last commit. Also to be given to
    /// `learn`.
    pub fn mark(&self) -> i64 {
        *self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the mark: after a commit, with or without log rows, and before any cache is brought up
    /// to date with it. Only the writer calls it.
    pub(super) fn move_mark(&self) {
        *self.commits.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }

    /// Remembers what the database said of a scope, unless something was committed since `mark`.
    pub(super) fn learn(&self, scope: &str, position: i64, mark: i64) -> i64 {
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        if *commits == mark {
            self.newest.insert(scope.into(), position);
            return position;
        }
        drop(commits);
        self.newest
            .get(scope)
            .map_or(position, |known| known.max(position))
    }

    pub(super) fn on_commit(&self, hook: Hook) {
        self.hooks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(hook);
    }

    /// Makes a commit known. Only the writer calls it, in the order of commits.
    pub(super) fn publish(&self, published: &Published) {
        {
            let _commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
            for row in &published.rows {
                self.newest.insert(row.scope.as_str().into(), row.position);
            }
        }
        for hook in self
            .hooks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            hook(published);
        }
        self.head.send_if_modified(|head| {
            let moved = published.head > *head;
            if moved {
                *head = published.head;
            }
            moved
        });
    }
}
