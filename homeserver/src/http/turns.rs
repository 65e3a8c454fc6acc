//! One transaction of a server at a time.
//!
//! Invariant: a server's transactions are taken one after another, so that one which comes twice at once is carried out once;
//! servers do not wait for each other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use ruma::{OwnedServerName, ServerName};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Servers that are remembered before those without a transaction are forgotten.
const SERVERS_MAX: usize = 1_000;

/// Whose turn it is, by server.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<OwnedServerName, Weak<AsyncMutex<()>>>>);

impl Turns {
    /// Waits until no other transaction of this server is under way.
    pub async fn take(&self, server: &ServerName) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= SERVERS_MAX {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            let known = turns.get(server).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::new(AsyncMutex::new(()));
                turns.insert(server.to_owned(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}
