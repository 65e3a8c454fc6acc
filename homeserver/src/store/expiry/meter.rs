//! What the purge has done, as numbers that the operator watches.
//!
//! Invariant: no number tells of one room or user.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Numbers since the start of the process.
#[derive(Debug, Default)]
pub struct ExpiryMeter {
    destroyed: AtomicU64,
    lag_ms: AtomicI64,
    passed_ms: AtomicI64,
    buckets: AtomicU64,
}

impl ExpiryMeter {
    /// Counts events whose content was destroyed.
    pub fn count_destroyed(&self, events: usize) {
        self.destroyed.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Notes a pass that ended: when, and for how long the oldest content has been due of which a file may still have bytes, in ms;
    /// and how many groups of buckets have a key.
    pub fn note_pass(&self, now_ms: i64, lag_ms: i64, buckets: usize) {
        self.passed_ms.store(now_ms, Ordering::Relaxed);
        self.lag_ms.store(lag_ms, Ordering::Relaxed);
        self.buckets.store(buckets as u64, Ordering::Relaxed);
    }

    /// Events whose content was destroyed.
    pub fn destroyed(&self) -> u64 {
        self.destroyed.load(Ordering::Relaxed)
    }

    /// For how long the oldest has been due after the last pass, in ms.
    pub fn lag_ms(&self) -> i64 {
        self.lag_ms.load(Ordering::Relaxed)
    }

    /// When the last pass ended, in ms since the epoch; 0 before the first.
    pub fn passed_ms(&self) -> i64 {
        self.passed_ms.load(Ordering::Relaxed)
    }

    /// Groups of buckets that had a key after the last pass.
    pub fn buckets(&self) -> u64 {
        self.buckets.load(Ordering::Relaxed)
    }
}
