//! Keeps a client up to date with its server.
//!
//! Invariant: a response's to-device messages, room states and `next_batch` are committed in one transaction before anything of
//! it is told to the program; a sync always goes on from the token on disk. What fails is tried again after a pause that grows,
//! with jitter, and never shorter than the server asks.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#syncing>

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ruma::{api::client::sync::sync_events::v3, presence::PresenceState};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    client::{Client, ClientError, within},
    crypto::SecretBytes,
    http::JSON_BYTES_MAX,
};

mod process;
mod socket;
mod sweep;
mod waiting;

pub(crate) use process::reveal;
pub(crate) use socket::{SocketSend, SocketSlot};
pub(crate) use waiting::WaitingEvents;

/// Where the position of the sync is kept in the store.
pub(crate) const SYNC_TOKEN_VALUE: &str = "sync_token";

/// How long the server may hold a request back when there is nothing new.
const POLL_TIMEOUT: Duration = Duration::from_secs(30);

/// How much longer than that the answer may take.
const POLL_SLACK: Duration = Duration::from_secs(30);

/// The most timeline events of one room in one response.
const TIMELINE_EVENTS_MAX: u32 = 50;

/// How long a loop that was told to stop may take to finish what it has begun.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How the loop stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoopState {
    Running,
    Stopped,
    SessionEnded,
    SoftLoggedOut,
}

/// Sees to it that a client syncs once at a time: two syncs would overwrite each other's waiting events, and the slower one would put an
/// older position over a newer.
#[derive(Debug, Default)]
pub(crate) struct Syncing {
    /// Held by whoever syncs.
    alone: tokio::sync::Mutex<()>,
    /// Whether the loop that was started last is over: its handle dropped, or ended by itself.
    over: Mutex<Option<Arc<AtomicBool>>>,
}

impl Syncing {
    fn over(&self) -> MutexGuard<'_, Option<Arc<AtomicBool>>> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&self) -> bool {
        let over = self.over();
        over.as_ref()
            .is_some_and(|over| !over.load(Ordering::SeqCst))
    }

    /// Begins a loop; gives where to say that it is over. `None` if one is running.
    fn begin(&self) -> Option<Arc<AtomicBool>> {
        let mut last = self.over();
        if last
            .as_ref()
            .is_some_and(|over| !over.load(Ordering::SeqCst))
        {
            return None;
        }
        Some(last.insert(Arc::default()).clone())
    }
}

/// A running sync. Dropping it stops the sync.
#[derive(Debug)]
pub struct SyncHandle {
    over: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    state: watch::Receiver<LoopState>,
    task: JoinHandle<()>,
    sweeper: JoinHandle<()>,
}

impl SyncHandle {
    /// Waits until the sync ends by itself.
    ///
    /// # Errors
    ///
    /// [`ClientError::SessionEnded`] or [`ClientError::SoftLoggedOut`], the only reasons for it to end by itself.
    pub async fn ended(&self) -> Result<(), ClientError> {
        let mut state = self.state.clone();
        let last = state
            .wait_for(|state| *state != LoopState::Running)
            .await
            .map(|state| *state);
        match last {
            Ok(LoopState::SessionEnded) => Err(ClientError::SessionEnded),
            Ok(LoopState::SoftLoggedOut) => Err(ClientError::SoftLoggedOut),
            _ => Ok(()),
        }
    }

    /// Lets the response that is being processed finish, and stops.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let _ = within(STOP_PATIENCE, &mut self.task).await;
    }
}

impl Drop for SyncHandle {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.stop.send_replace(true);
        self.sweeper.abort();
    }
}

impl Client {
    /// Starts to sync in the background, from where it was left.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`]; [`ClientError::AlreadySyncing`] while the handle of another sync is held that has not ended.
    pub fn start_sync(&self) -> Result<SyncHandle, ClientError> {
        self.session()?;
        let over = self.inner.syncing.begin();
        let over = over.ok_or(ClientError::AlreadySyncing)?;
        let ended = over.clone();
        let (stop, stopped) = watch::channel(false);
        let (report, state) = watch::channel(LoopState::Running);
        let client = self.clone();
        let task = tokio::spawn(async move {
            // One that was told to stop may still be at its last response.
            let _alone = client.inner.syncing.alone.lock().await;
            let end = client.sync_until(stopped).await;
            ended.store(true, Ordering::SeqCst);
            report.send_replace(end);
        });
        let sweeper = tokio::spawn(sweep::run(self.clone()));
        Ok(SyncHandle {
            over,
            stop,
            state,
            task,
            sweeper,
        })
    }

    /// Syncs once and returns when what it brought has been processed; waits for news no longer than `patience`.
    ///
    /// # Errors
    ///
    /// [`ClientError::AlreadySyncing`] while a sync runs in the background; any other [`ClientError`]: nothing of the response was
    /// processed then.
    pub async fn sync_once(&self, patience: Duration) -> Result<(), ClientError> {
        if self.inner.syncing.is_running() {
            return Err(ClientError::AlreadySyncing);
        }
        let _alone = self.inner.syncing.alone.lock().await;
        let response = self.poll(patience).await?;
        self.process(response).await
    }

    async fn sync_until(&self, mut stopped: watch::Receiver<bool>) -> LoopState {
        let mut attempt = 0;
        let mut socket_refused = false;
        let mut discovered = false;
        while !*stopped.borrow() {
            // A server that was away may have come back as another version.
            let asked = if discovered {
                Ok(())
            } else {
                self.discover().await
            };
            discovered = asked.is_ok();
            let outcome = match asked {
                Ok(()) if !socket_refused && self.socket_offered() => {
                    let outcome = self.sync_by_socket(&mut stopped).await;
                    socket_refused = matches!(&outcome, Err(error) if socket::is_refusal(error));
                    outcome
                }
                Ok(()) => self.sync_by_poll(&mut stopped).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => attempt = 0,
                Err(ClientError::SessionEnded | ClientError::NotLoggedIn) => {
                    return LoopState::SessionEnded;
                }
                Err(ClientError::SoftLoggedOut) => return LoopState::SoftLoggedOut,
                Err(error) => {
                    tracing::debug!(%error, attempt, "sync failed");
                    self.rest(&error, attempt, &mut stopped).await;
                    attempt += 1;
                    discovered = false;
                }
            }
        }
        LoopState::Stopped
    }

    /// Pauses after a failure, or until stopped.
    async fn rest(&self, error: &ClientError, attempt: u32, stopped: &mut watch::Receiver<bool>) {
        let wanted = match error {
            ClientError::Http(error) => error.retry_after().unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let _ = within(self.pause(attempt).max(wanted), stopped.changed()).await;
    }

    async fn sync_by_poll(&self, stopped: &mut watch::Receiver<bool>) -> Result<(), ClientError> {
        let response = tokio::select! {
            // Nothing of a response that has not arrived is lost by not waiting for it.
            _ = stopped.changed() => return Ok(()),
            response = self.poll(POLL_TIMEOUT) => response?,
        };
        self.process(response).await
    }

    async fn poll(&self, patience: Duration) -> Result<v3::Response, ClientError> {
        let since = self.sync_token().await?;
        // The first sync has news for certain.
        let patience = if since.is_some() {
            patience
        } else {
            Duration::ZERO
        };
        let mut request = sync_request(since);
        request.timeout = Some(patience);
        let bounds = (patience + POLL_SLACK, JSON_BYTES_MAX);
        self.request_observed(request, bounds, &|_, _| {}).await
    }

    pub(crate) async fn sync_token(&self) -> Result<Option<String>, ClientError> {
        let value = self.inner.store.value(SYNC_TOKEN_VALUE).await?;
        let text = value.map(|value: SecretBytes| String::from_utf8(value.expose().to_vec()));
        text.transpose().map_err(|_| ClientError::Decode)
    }
}

/// A request for what happened since `since`: no presence, bounded timelines.
fn sync_request(since: Option<String>) -> v3::Request {
    let filter = json!({
        "presence": {"types": []},
        "room": {"timeline": {"limit": TIMELINE_EVENTS_MAX}},
    });
    let mut request = v3::Request::new();
    request.since = since;
    // Our own presence is nobody's business.
    request.set_presence = PresenceState::Offline;
    request.filter = serde_json::from_value(filter)
        .ok()
        .map(v3::Filter::FilterDefinition);
    request
}

#[cfg(test)]
mod tests;
