//! Joins over federation that are under way.
//!
//! Invariant: a join is noted from before the room's server hears of it until the room is on disk, or will not be. In between
//! that server, and through it every other one in the room, knows of a member whom this server does not know to be one: what it
//! asks about that user waits for the end.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ruma::{OwnedUserId, UserId};
use tokio::sync::Notify;

use super::Rooms;
use crate::clock::within;

/// How long a question waits for a join.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Who is joining a room of another server.
#[derive(Debug, Default)]
pub(super) struct Joining {
    users: Mutex<HashMap<OwnedUserId, usize>>,
    /// Rings when a join ends.
    ended: Notify,
}

/// A join under way: it ends when this is dropped.
pub(super) struct JoinUnderWay<'a> {
    joining: &'a Joining,
    user: OwnedUserId,
}

impl Joining {
    /// Notes that a user is joining.
    pub(super) fn begin(&self, user: &UserId) -> JoinUnderWay<'_> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        *users.entry(user.to_owned()).or_default() += 1;
        JoinUnderWay {
            joining: self,
            user: user.to_owned(),
        }
    }

    fn is_joining(&self, user: &UserId) -> bool {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.contains_key(user)
    }
}

impl Drop for JoinUnderWay<'_> {
    fn drop(&mut self) {
        let joining = self.joining;
        let mut users = joining.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user);
            }
        }
        drop(users);
        joining.ended.notify_waiters();
    }
}

impl Rooms {
    /// Waits, for a few seconds at most, until a user of ours joins no room of another server. Answers whether it had to wait.
    pub async fn joins_settled(&self, user: &UserId) -> bool {
        if !self.joining.is_joining(user) {
            return false;
        }
        let settled = async {
            loop {
                let ended = self.joining.ended.notified();
                tokio::pin!(ended);
                // From here on no end is missed.
                ended.as_mut().enable();
                if !self.joining.is_joining(user) {
                    return;
                }
                ended.await;
            }
        };
        // If it takes longer, the question is answered by what is known.
        let _ = within(&*self.context.clock, WAIT_MAX, settled).await;
        true
    }
}
