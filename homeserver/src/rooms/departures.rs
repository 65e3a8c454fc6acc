//! Those who are gone for good leave their rooms: accounts that were ended from the command line, or by a process that died before
//! it had left all rooms.
//!
//! Invariant: nobody whose account is active is touched; a room that does not let go stops no other, and is asked again later.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ruma::{OwnedRoomId, OwnedUserId};

use super::Rooms;
use crate::{
    drain::Drain,
    store::{Look, StoreError},
};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(10);
/// Memberships that one look ends.
const DEPARTURES_MAX: u64 = 200;
/// How long a room that did not let go is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The departures of one process.
#[derive(Debug)]
pub struct Departures {
    rooms: Arc<Rooms>,
    drain: Drain,
    /// Rooms that did not let go, and from when on they are asked again.
    failed: BTreeMap<(OwnedRoomId, OwnedUserId), Duration>,
}

impl Departures {
    /// Those of the users of `rooms`.
    pub fn new(rooms: Arc<Rooms>, drain: Drain) -> Self {
        Self {
            rooms,
            drain,
            failed: BTreeMap::new(),
        }
    }

    /// Looks until the process ends.
    pub async fn run(mut self) {
        let (rooms, drain) = (Arc::clone(&self.rooms), self.drain.clone());
        while !drain.has_begun() {
            if let Err(error) = self.pass().await {
                tracing::error!(%error, "who has left for good cannot be read; it is tried again");
            }
            tokio::select! {
                biased;
                () = drain.begun() => {}
                () = rooms.context.clock.sleep(INTERVAL) => {}
            }
        }
    }

    /// Takes note of what other processes committed, and lets those leave who are gone.
    ///
    /// # Errors
    /// What the database says.
    pub async fn pass(&mut self) -> Result<(), StoreError> {
        let rooms = Arc::clone(&self.rooms);
        rooms.store().commit(Look).await?;
        let now = rooms.context.clock.monotonic();
        self.failed.retain(|_, from| *from > now);
        for departed in rooms.store().departed_members(DEPARTURES_MAX).await? {
            if self.drain.has_begun() || self.failed.contains_key(&departed) {
                continue;
            }
            // Another process may have changed them.
            rooms.forget_memberships(&departed.1);
            if let Err(error) = rooms.leave(&departed.0, &departed.1, None).await {
                tracing::warn!(%error, "a deactivated user could not leave a room");
                self.failed.insert(departed, now + RETRY_AFTER);
            }
        }
        Ok(())
    }
}
