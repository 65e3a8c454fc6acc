//! One peer's outbound queue: when to load, when to send, when to wait. No I/O; the shell keeps the rows.
//!
//! Invariant: at most one transaction is in flight. It is stored before it is sent, and sent under the same identifier, with
//! the same items, until the peer has taken it; only then does the cursor move. So a crash at any point loses nothing and
//! the peer sees nothing twice.
//!
//! Calling order: after each `handle_*`, and when a wait is over, ask [`Destination::poll`] and do what it says. Every call
//! takes the current time; a time that goes backwards only makes a wait longer, never endless.
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#transactions>.

use crate::limits::{BACK_OFF_MS_MAX, BACK_OFF_MS_MIN, CATCH_UP_AFTER_MS};

/// What the shell is to do next for this peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    /// Load what is owed beyond `after`, at most one transaction's worth; if there is something, store it as the
    /// transaction in flight; then call [`Destination::handle_loaded`].
    LoadNext {
        /// The cursor: positions up to this one are settled.
        after: i64,
        /// Load nothing beyond this position.
        through: i64,
        /// Whether only the newest event of each room counts (by its position), because the peer was away for long. It
        /// fetches the rest itself. What is no event (device messages, device lists) is loaded all the same.
        newest_per_room: bool,
    },
    /// Send the stored transaction, then call [`Destination::handle_sent`] or [`Destination::handle_failed`].
    Send {
        /// Its identifier.
        txn_id: String,
    },
    /// Wait until then, or for the next `handle_*`.
    Wait {
        /// Milliseconds since 1970.
        until_ms: u64,
    },
    /// Nothing is owed, or a load or a sending is under way: wait for the next `handle_*`.
    Idle,
}

/// A transaction as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Its identifier.
    pub txn_id: String,
    /// What it settles: once the peer has taken it, the cursor stands here.
    pub through: i64,
}

/// What of a queue outlives the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// Positions up to this one are settled.
    pub cursor: i64,
    /// The transaction in flight, if any.
    pub in_flight: Option<InFlight>,
    /// How often in a row sending failed.
    pub failures: u32,
    /// When the first of these failures was. Milliseconds.
    pub failing_since_ms: Option<u64>,
    /// Not to be tried again before. Milliseconds.
    pub retry_at_ms: u64,
    /// While catching up: up to where only the newest event of each room is sent.
    pub catch_up_through: Option<i64>,
}

/// The queue of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    saved: Saved,
    /// The newest position at which something may be owed.
    head: i64,
    /// What the shell is doing for us.
    busy: Busy,
    /// Whether the peer showed life since the last attempt began.
    is_alive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Busy {
    No,
    Loading { through: i64 },
    Sending,
}

impl Destination {
    /// The queue as it was saved. `head` is the newest position of the log: what lies between is loaded at the first poll.
    ///
    /// This is the same for a new peer (save a cursor at the position where it begins to be owed), a start and a crash.
    pub fn restore(saved: Saved, head: i64) -> Self {
        let head = head.max(saved.cursor);
        Self {
            saved,
            head,
            busy: Busy::No,
            is_alive: false,
        }
    }

    /// What is to be kept. Store it whenever it changed, and before doing what [`Destination::poll`] says next.
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Something is owed at `position`, or may be.
    pub fn handle_wake(&mut self, position: i64) {
        self.head = self.head.max(position);
    }

    /// A load is done: `Some` if a transaction was stored, `None` if nothing was owed.
    pub fn handle_loaded(&mut self, loaded: Option<InFlight>) {
        let Busy::Loading { through } = std::mem::replace(&mut self.busy, Busy::No) else {
            return;
        };
        match loaded {
            Some(in_flight) => self.saved.in_flight = Some(in_flight),
            None => self.settle(through),
        }
    }

    /// A load failed: try again at `retry_at_ms`.
    pub fn handle_load_failed(&mut self, retry_at_ms: u64) {
        self.busy = Busy::No;
        self.saved.retry_at_ms = self.saved.retry_at_ms.max(retry_at_ms);
    }

    /// The peer took the transaction. The shell deletes it in the same commit that stores [`Destination::saved`].
    pub fn handle_sent(&mut self, now_ms: u64) {
        self.busy = Busy::No;
        if let Some(in_flight) = self.saved.in_flight.take() {
            self.settle(in_flight.through);
        }
        // A peer that was away for long has missed so much that it had better fetch the rest itself.
        let was_away = self
            .saved
            .failing_since_ms
            .is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= CATCH_UP_AFTER_MS);
        if was_away && self.saved.cursor < self.head {
            self.saved.catch_up_through = Some(self.head);
        }
        self.saved.failures = 0;
        self.saved.failing_since_ms = None;
        self.saved.retry_at_ms = 0;
    }

    /// The peer did not take the transaction.
    ///
    /// * `jitter`: any number, drawn anew for each call; it spreads the attempts of many servers.
    /// * `retry_after_ms`: how long the peer asks to be left alone, if it does; honoured up to an hour.
    pub fn handle_failed(&mut self, now_ms: u64, jitter: u32, retry_after_ms: Option<u64>) {
        self.busy = Busy::No;
        self.saved.failing_since_ms.get_or_insert(now_ms);
        let pause_ms = if std::mem::take(&mut self.is_alive) && retry_after_ms.is_none() {
            // It spoke to us while we tried: the attempt was unlucky rather than the peer away.
            BACK_OFF_MS_MIN
        } else {
            back_off_ms(self.saved.failures, jitter)
                .max(retry_after_ms.unwrap_or(0))
                .min(BACK_OFF_MS_MAX)
        };
        self.saved.failures = self.saved.failures.saturating_add(1);
        self.saved.retry_at_ms = now_ms.saturating_add(pause_ms);
    }

    /// The peer showed life, by an authentic request of its own: it is tried at once.
    pub fn handle_life(&mut self) {
        if self.busy == Busy::No {
            self.saved.retry_at_ms = 0;
        } else {
            self.is_alive = true;
        }
    }

    /// What to do now.
    pub fn poll(&mut self, now_ms: u64) -> Poll {
        if self.busy != Busy::No {
            return Poll::Idle;
        }
        let is_owed = self.saved.in_flight.is_some() || self.saved.cursor < self.head;
        if !is_owed {
            return Poll::Idle;
        }
        // The second term: after a clock that was set back, a wait is never longer than the longest pause.
        if now_ms < self.saved.retry_at_ms {
            let until_ms = self
                .saved
                .retry_at_ms
                .min(now_ms.saturating_add(BACK_OFF_MS_MAX));
            self.saved.retry_at_ms = until_ms;
            return Poll::Wait { until_ms };
        }
        if let Some(in_flight) = &self.saved.in_flight {
            self.busy = Busy::Sending;
            self.is_alive = false;
            return Poll::Send {
                txn_id: in_flight.txn_id.clone(),
            };
        }
        let through = self.saved.catch_up_through.unwrap_or(self.head);
        self.busy = Busy::Loading { through };
        Poll::LoadNext {
            after: self.saved.cursor,
            through,
            newest_per_room: self.saved.catch_up_through.is_some(),
        }
    }

    /// Moves the cursor, and ends catching up where it reaches the end of it.
    fn settle(&mut self, through: i64) {
        self.saved.cursor = self.saved.cursor.max(through);
        self.head = self.head.max(self.saved.cursor);
        if self
            .saved
            .catch_up_through
            .is_some_and(|end| end <= self.saved.cursor)
        {
            self.saved.catch_up_through = None;
        }
    }
}

/// The pause after the `failures`-th failure in a row, counted from 0: doubled each time, and spread by `jitter` over its
/// upper half, so that servers that failed together do not come back together.
fn back_off_ms(failures: u32, jitter: u32) -> u64 {
    let full_ms = BACK_OFF_MS_MIN
        .saturating_mul(1 << failures.min(32))
        .min(BACK_OFF_MS_MAX);
    let half_ms = full_ms / 2;
    half_ms + u64::from(jitter) % (full_ms - half_ms + 1)
}

#[cfg(test)]
mod tests;
