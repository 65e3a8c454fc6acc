//! A store for tests that holds back what takes messages out of the send queue until it is told to go on, and fails to scrub if it is
//! told to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

use super::{
    AccountBinding, Batch, InboxItem, MemoryStore, RoomEntry, SendQueueItem, Store, StoreError,
    StoreFuture,
};
use crate::crypto::{Record, SecretBytes};

/// A store in memory whose deletions from the send queue wait for a gate.
pub(crate) struct GatedStore {
    inner: MemoryStore,
    /// Whether the gate is open.
    open: watch::Sender<bool>,
    /// How many deletions stand before it.
    waiting: watch::Sender<usize>,
    /// Whether scrubbing fails.
    scrub_fails: AtomicBool,
    /// How often scrubbing was tried.
    scrubs: AtomicUsize,
}

impl GatedStore {
    pub(crate) fn new() -> Self {
        Self {
            inner: MemoryStore::new(),
            open: watch::Sender::new(true),
            waiting: watch::Sender::new(0),
            scrub_fails: AtomicBool::new(false),
            scrubs: AtomicUsize::new(0),
        }
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    pub(crate) fn fail_scrubs(&self, fail: bool) {
        self.scrub_fails.store(fail, Ordering::SeqCst);
    }

    /// How often scrubbing was tried since this was last asked.
    pub(crate) fn take_scrubs(&self) -> usize {
        self.scrubs.swap(0, Ordering::SeqCst)
    }

    /// Returns once a deletion stands before the gate.
    pub(crate) async fn is_waited_for(&self) {
        let mut waiting = self.waiting.subscribe();
        waiting.wait_for(|count| *count > 0).await.unwrap();
    }
}

impl Store for GatedStore {
    fn account(&self) -> StoreFuture<'_, Option<AccountBinding>> {
        self.inner.account()
    }
    fn bind<'a>(&'a self, account: &'a AccountBinding) -> StoreFuture<'a, ()> {
        self.inner.bind(account)
    }
    fn records(&self) -> StoreFuture<'_, Vec<Record>> {
        self.inner.records()
    }
    fn commit(&self, batch: Batch) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            if !batch.send_queue_delete.is_empty() {
                self.waiting.send_modify(|count| *count += 1);
                self.open.subscribe().wait_for(|open| *open).await.unwrap();
            }
            self.inner.commit(batch).await
        })
    }
    fn value<'a>(&'a self, name: &'a str) -> StoreFuture<'a, Option<SecretBytes>> {
        self.inner.value(name)
    }
    fn send_queue(&self) -> StoreFuture<'_, Vec<SendQueueItem>> {
        self.inner.send_queue()
    }
    fn rooms(&self) -> StoreFuture<'_, Vec<RoomEntry>> {
        self.inner.rooms()
    }
    fn inbox(&self) -> StoreFuture<'_, Vec<InboxItem>> {
        self.inner.inbox()
    }
    fn scrub(&self) -> StoreFuture<'_, ()> {
        self.scrubs.fetch_add(1, Ordering::SeqCst);
        if self.scrub_fails.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Database) });
        }
        self.inner.scrub()
    }
    fn close(&self) -> StoreFuture<'_, ()> {
        self.inner.close()
    }
    fn wipe(&self) -> StoreFuture<'_, ()> {
        self.inner.wipe()
    }
}
