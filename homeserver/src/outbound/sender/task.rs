//! The task of one destination.
//!
//! Invariant: at most one request is under way, and what is in flight was stored before. The state after a success is
//! stored with the next transaction, or before the task rests: a crash in between sends the same transaction again, which
//! the peer knows by its identifier. A peer that keeps refusing a transaction gets its items one by one, and one that it
//! refuses alone is given up, so that one bad item never holds back the others.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::StatusCode;
use passeur_protocol::{
    destination::{Destination, InFlight, Poll, Saved},
    limits::{EDUS_PER_TRANSACTION_MAX, PDUS_PER_TRANSACTION_MAX},
};
use ruma::OwnedServerName;

use super::{
    Handle, Sender, SenderContext,
    edus::{presence_edu, typing_edu},
    load::{Wanted, load},
    places::Expected,
    transaction::{Items, TransmitError, new_id, transmit},
};
use crate::{
    outbound::RemoteError,
    store::{DestinationRow, SaveDestination, StoreError},
};

/// The pause after the database failed.
const PAUSE_AFTER_FAILURE_MS: u64 = 1_000;

/// Most items of a transaction, of both kinds.
const ITEMS_MAX: usize = PDUS_PER_TRANSACTION_MAX + EDUS_PER_TRANSACTION_MAX;

/// How often the same transaction is refused before its items are sent one by one.
const REFUSALS_MAX: u32 = 3;

/// One destination, while something is owed.
struct Task<'a> {
    context: &'a SenderContext,
    sender: &'a Sender,
    server: OwnedServerName,
    handle: Arc<Handle>,
    machine: Destination,
    /// The items of the transaction in flight.
    items: Items,
    /// Most items of the next transaction.
    items_max: usize,
    /// How often the transaction in flight was refused.
    refusals: u32,
    /// Whether the peer showed life since it last failed.
    is_alive: bool,
    /// What is on disk.
    stored: Saved,
    /// Who began or stopped typing, and who is online.
    typing: Vec<Box<serde_json::value::RawValue>>,
}

/// Runs until nothing is owed, or the store is closed.
pub(super) async fn run(sender: Sender, server: OwnedServerName, handle: Arc<Handle>) {
    let context = sender.0.context.clone();
    loop {
        match Task::open(&context, &sender, &server, &handle).await {
            Ok(mut task) => match task.run().await {
                Ok(()) => return,
                Err(error) if pause(&context, &error).await => {}
                Err(_) => return,
            },
            Err(error) if pause(&context, &error).await => {}
            Err(_) => return,
        }
    }
}

/// Waits after a failure of the database; answers whether to go on.
async fn pause(context: &SenderContext, error: &StoreError) -> bool {
    if matches!(error, StoreError::Closed) {
        return false;
    }
    tracing::error!(%error, "a destination cannot be read or stored");
    let pause = Duration::from_millis(PAUSE_AFTER_FAILURE_MS);
    context.clock.sleep(pause).await;
    true
}

impl<'a> Task<'a> {
    async fn open(
        context: &'a SenderContext,
        sender: &'a Sender,
        server: &OwnedServerName,
        handle: &Arc<Handle>,
    ) -> Result<Task<'a>, StoreError> {
        let head = context.store.heads().head();
        let row = match context.store.destination(server).await? {
            Some(row) => row,
            // Nothing was owed before what woke the task.
            None => fresh(context, server).await?,
        };
        let items = row.items.as_deref().map(serde_json::from_str).transpose();
        let items = items.map_err(|_| StoreError::corrupt("destinations", "in_flight"))?;
        Ok(Task {
            context,
            sender,
            server: server.clone(),
            handle: Arc::clone(handle),
            machine: Destination::restore(row.saved.clone(), head),
            items: items.unwrap_or_default(),
            items_max: ITEMS_MAX,
            refusals: 0,
            is_alive: false,
            stored: row.saved,
            typing: Vec::new(),
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.context.clock.now_ms()).unwrap_or(0)
    }

    async fn run(&mut self) -> Result<(), StoreError> {
        loop {
            self.hear();
            match self.machine.poll(self.now_ms()) {
                Poll::LoadNext {
                    after,
                    through,
                    newest_per_room,
                } => self.load(after, through, newest_per_room).await?,
                Poll::Send { txn_id } => self.send(&txn_id).await?,
                Poll::Wait { until_ms } => {
                    self.typing.clear();
                    self.save().await?;
                    self.wait(until_ms).await;
                }
                Poll::Idle => {
                    self.send_typing().await;
                    self.save().await?;
                    if self.sender.end(&self.server, &self.handle) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes what was told meanwhile.
    fn hear(&mut self) {
        let since_ms = self.machine.saved().failing_since_ms.unwrap_or(0);
        let shown = &self.handle.failing_since_ms;
        shown.store(since_ms, Ordering::Relaxed);
        let news = self.handle.take();
        self.machine.handle_wake(news.position);
        if news.is_alive {
            self.is_alive = true;
            self.machine.handle_life();
        }
        let typing = news.typing.into_iter();
        self.typing
            .extend(typing.filter_map(|((room, user), on)| typing_edu(room, user, on)));
        self.typing
            .extend(presence_edu(news.presence.into_values().collect()));
        self.typing.truncate(EDUS_PER_TRANSACTION_MAX);
    }

    async fn wait(&self, until_ms: u64) {
        let pause = Duration::from_millis(until_ms.saturating_sub(self.now_ms()));
        tokio::select! {
            biased;
            () = self.context.clock.sleep(pause) => {}
            () = self.handle.bell.notified() => {}
        }
    }

    async fn load(
        &mut self,
        after: i64,
        through: i64,
        newest_per_room: bool,
    ) -> Result<(), StoreError> {
        let wanted = Wanted {
            after,
            through,
            newest_per_room,
            items_max: self.items_max,
        };
        let loaded = load(self.context, &self.server, wanted).await?;
        if loaded.is_empty() {
            self.machine.handle_loaded(None);
            return Ok(());
        }
        self.items = Items {
            pdus: loaded.pdus,
            rows: loaded.rows,
            edus: loaded.edus,
        };
        self.refusals = 0;
        self.machine.handle_loaded(Some(InFlight {
            txn_id: new_id(self.context),
            through: loaded.through,
        }));
        self.save().await
    }

    /// Sends a transaction as soon as there is a place for this server.
    async fn transmit(&self, txn_id: &str, items: &Items) -> Result<(), TransmitError> {
        let expected = match self.machine.saved().failures {
            0 => Expected::Prompt,
            _ if self.is_alive => Expected::Prompt,
            _ => Expected::Late,
        };
        let places = &self.sender.0.places;
        let Some(place) = places.enter(&self.handle, expected).await else {
            return Err(RemoteError::Timeout.into());
        };
        transmit(self.context, &self.server, txn_id, items, place).await
    }

    async fn send(&mut self, txn_id: &str) -> Result<(), StoreError> {
        let outcome = self.transmit(txn_id, &self.items).await;
        match outcome {
            Ok(()) => {
                self.machine.handle_sent(self.now_ms());
                self.items_max = (self.items_max * 2).min(ITEMS_MAX);
                Ok(())
            }
            Err(TransmitError::Store(error)) => Err(error),
            Err(TransmitError::Remote(error)) => {
                self.failed(&error);
                self.save().await
            }
        }
    }

    fn failed(&mut self, error: &RemoteError) {
        tracing::debug!(%error, "a server did not take a transaction");
        if is_refusal(error) {
            self.refusals += 1;
            if self.refusals >= REFUSALS_MAX {
                self.give_way();
                return;
            }
        }
        let retry_after_ms = match error {
            RemoteError::Status { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        };
        self.is_alive = false;
        let jitter = u32::try_from(self.context.rng.next_u64() >> 32).unwrap_or(0);
        self.machine
            .handle_failed(self.now_ms(), jitter, retry_after_ms);
    }

    /// Sends the items of a refused transaction one by one, or gives up the one that was refused alone.
    fn give_way(&mut self) {
        self.refusals = 0;
        if self.items.len() <= 1 {
            tracing::warn!("an item that another server keeps refusing is given up");
            self.machine.handle_sent(self.now_ms());
            return;
        }
        // The peer has not taken it: its items may go under new identifiers.
        self.items_max = 1;
        let saved = Saved {
            in_flight: None,
            ..self.machine.saved().clone()
        };
        let head = self.context.store.heads().head();
        self.machine = Destination::restore(saved, head);
    }

    /// Stores where the destination stands, if that matters: a cursor that moved over nothing owed can be found again.
    async fn save(&mut self) -> Result<(), StoreError> {
        let saved = self.machine.saved();
        let only_moved = Saved {
            cursor: self.stored.cursor,
            ..saved.clone()
        } == self.stored;
        if only_moved {
            return Ok(());
        }
        let items = match &saved.in_flight {
            Some(_) => serde_json::to_string(&self.items).ok(),
            None => None,
        };
        let row = DestinationRow {
            saved: saved.clone(),
            items,
        };
        self.stored = saved.clone();
        let change = SaveDestination {
            server: self.server.clone(),
            row,
        };
        if self.context.store.commit(change).await?.output {
            self.context.store.note_residue();
        }
        Ok(())
    }

    /// Sends who is typing, once and without a trace, but that a server that does not take it is left alone for a while.
    async fn send_typing(&mut self) {
        let edus = std::mem::take(&mut self.typing);
        let is_resting = self.now_ms() < self.machine.saved().retry_at_ms;
        if edus.is_empty() || is_resting {
            return;
        }
        let items = Items {
            edus,
            ..Items::default()
        };
        let txn_id = new_id(self.context);
        match self.transmit(&txn_id, &items).await {
            Ok(()) => self.machine.handle_sent(self.now_ms()),
            Err(TransmitError::Remote(error)) if !is_refusal(&error) => self.failed(&error),
            // It is there, or this is no fault of its own.
            Err(TransmitError::Remote(_) | TransmitError::Store(_)) => {}
        }
    }
}

/// The state of a server to which nothing was owed before.
async fn fresh(
    context: &SenderContext,
    server: &OwnedServerName,
) -> Result<DestinationRow, StoreError> {
    let oldest = context.store.oldest_owed_alone(server).await?;
    let head = context.store.heads().head();
    Ok(DestinationRow {
        saved: Saved {
            cursor: oldest.map_or(head, |position| position - 1),
            ..Saved::default()
        },
        items: None,
    })
}

/// Whether the peer looked at the transaction and did not want it as it is: another try would end the same way.
fn is_refusal(error: &RemoteError) -> bool {
    const ABOUT_US: [StatusCode; 5] = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    match error {
        RemoteError::Status { status, .. } => {
            status.is_client_error() && !ABOUT_US.contains(status)
        }
        RemoteError::Request => true,
        _ => false,
    }
}
