//! The end of the process, told to everything that waits, and waited for.
//!
//! Invariant: whoever holds a [`Drain`] learns of the end at once; whoever works past it holds a [`Held`], so that the process ends
//! when the work is done and not before, within the limit that the listener sets.

use std::future::Future;

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// The process's end. Clones are the same end.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// Cancelled when the end begins.
    begun: CancellationToken,
    /// Counts what must finish first.
    open: TaskTracker,
}

/// Work that the end waits for, as long as this lives.
#[derive(Debug)]
pub struct Held {
    /// The tracker's count.
    _token: TaskTrackerToken,
}

impl Drain {
    /// An end that is not in sight.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the end: nothing new is accepted, waits are told.
    pub fn begin(&self) {
        self.begun.cancel();
        self.open.close();
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Completes when the end begins. Long polls, WebSockets and background loops wait for it beside their work.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Makes the end wait for what the caller does.
    #[must_use]
    pub fn hold(&self) -> Held {
        Held {
            _token: self.open.token(),
        }
    }

    /// Runs a background task that the end waits for; the task itself must heed [`Drain::begun`].
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.open.spawn(task));
    }

    /// Completes once the end has begun and nothing is held any more.
    pub async fn finished(&self) {
        self.open.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_waits_for_what_is_held() {
        let drain = Drain::new();
        let held = drain.hold();
        let waiting = {
            let drain = drain.clone();
            tokio::spawn(async move { drain.finished().await })
        };
        drain.begin();
        drain.begun().await;
        tokio::task::yield_now().await;
        assert!(drain.has_begun() && !waiting.is_finished());
        drop(held);
        waiting.await.unwrap();
    }
}
