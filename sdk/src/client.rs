//! One account's connection to its homeserver: the shell around the crypto machine, the store and the wire.
//!
//! Invariant: what the crypto machine changes is committed to the store before anything is done with what came out of it (see
//! `client/machine.rs`, the only file that touches the machine). While the network is waited for, no lock is held but the two
//! that let one task renew tokens, or send key requests, for all that need it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicBool},
    time::Duration,
};

use ruma::{
    OwnedDeviceId, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomId,
    api::client::{membership::join_room_by_id_or_alias, room::create_room},
};
use tokio::sync::{Mutex, broadcast, watch};

use crate::{
    base::{Membership, RoomState},
    clock::{Clock, Rng},
    crypto::{CryptoError, OlmMachine},
    http::{ClientRequest, HttpClient, JSON_BYTES_MAX, Progress, REQUEST_TIMEOUT},
    room::Room,
    send_queue::SendQueue,
    store::{Batch, Store},
    sync_loop::{SocketSlot, Syncing, WaitingEvents},
};

mod builder;
mod dehydrated;
mod error;
mod event;
mod identity;
mod machine;
mod media;
mod new_room;
mod secret_storage;
mod session;
mod stream;
mod timekeeper;
mod verification;

pub use builder::ClientBuilder;
pub use error::ClientError;
pub(crate) use event::Envelope;
pub use event::{Encrypted, Event, EventContent, Protection};
pub(crate) use machine::is_transient;
pub use media::MEDIA_BYTES_MAX;
pub use new_room::NewRoom;
pub use secret_storage::SecretStorage;
pub(crate) use session::Session;
pub(crate) use stream::within;
pub use stream::{Blocked, Ended, Notification, SendUpdate, Stream};
pub(crate) use timekeeper::Timekeeper;

/// Prefix of names in the store that belong to programs.
const APP_VALUES: &str = "app.";

/// A client. Clones share everything.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// What does not change while a client lives.
#[derive(Debug)]
pub(crate) struct Config {
    /// What the account's list of devices shows.
    pub(crate) device_name: String,
    /// The first pause between two tries.
    pub(crate) retry_first: Duration,
    /// The longest pause between two tries.
    pub(crate) retry_max: Duration,
    /// Whether the WebSocket is used where it is offered.
    pub(crate) use_socket: bool,
    /// Which devices of members get keys.
    pub(crate) sharing: crate::crypto::SharingPolicy,
    /// What happens with new members.
    pub(crate) members: crate::crypto::MemberPolicy,
    /// What this device can do with codes.
    pub(crate) codes: crate::crypto::QrAbilities,
}

/// What clones of a client share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) http: HttpClient,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) time: Timekeeper,
    pub(crate) rng: Arc<dyn Rng>,
    session: RwLock<Option<Session>>,
    /// Held while keys are put into the backup.
    pub(crate) backing_up: Mutex<()>,
    /// Held while tokens are renewed.
    renewal: Mutex<()>,
    /// `None` until logged in, and after a commit failed: it is loaded anew then.
    machine: Mutex<Option<OlmMachine>>,
    /// Held while the machine's requests are sent, so that each goes out once.
    pub(crate) outgoing: Mutex<()>,
    rooms: RwLock<BTreeMap<OwnedRoomId, Arc<RoomState>>>,
    /// Counts changes of `rooms`.
    rooms_changed: watch::Sender<u64>,
    events: broadcast::Sender<Arc<Event>>,
    notifications: broadcast::Sender<Arc<Notification>>,
    pub(crate) queue: SendQueue,
    pub(crate) socket: SocketSlot,
    pub(crate) waiting: WaitingEvents,
    pub(crate) syncing: Syncing,
    /// Whether the store's files may hold traces of what was destroyed.
    pub(crate) scrub_due: AtomicBool,
}

impl Client {
    /// Begins to configure a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// The time by this client's clock, in milliseconds since the Unix epoch. A clock that has jumped far ahead is followed only
    /// when a server's timestamps agree with it; see [`Notification::ClockJumped`].
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let reading = self.inner.time.read();
        if reading.jumped {
            tracing::warn!(
                "the clock has jumped ahead: nothing is destroyed until that is confirmed"
            );
            self.notify(Notification::ClockJumped);
        }
        reading.believed_ms
    }

    /// Whether syncs and messages go over a WebSocket at present.
    #[must_use]
    pub fn uses_socket(&self) -> bool {
        self.inner.socket.get().is_some()
    }

    /// Closes the store, so that another client can open it at once. Stop the sync first; nothing that needs the store works
    /// afterwards.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] if the store cannot be closed in good order; what was committed is safe in any case.
    pub async fn close(&self) -> Result<(), ClientError> {
        Ok(self.inner.store.close().await?)
    }

    /// The user, if logged in.
    #[must_use]
    pub fn user_id(&self) -> Option<OwnedUserId> {
        self.session().ok().map(|session| session.user_id)
    }

    /// The device, if logged in.
    #[must_use]
    pub fn device_id(&self) -> Option<OwnedDeviceId> {
        self.session().ok().map(|session| session.device_id)
    }

    pub(crate) fn session(&self) -> Result<Session, ClientError> {
        let session = self
            .inner
            .session
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        session.clone().ok_or(ClientError::NotLoggedIn)
    }

    fn set_session(&self, session: Option<Session>) {
        *self
            .inner
            .session
            .write()
            .unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// Loads everything that the store holds for a session.
    async fn load(&self, session: Session) -> Result<(), ClientError> {
        let mut rooms = BTreeMap::new();
        for entry in self.inner.store.rooms().await? {
            let state = RoomState::decode(&entry).ok_or(ClientError::Decode)?;
            rooms.insert(state.room_id.clone(), Arc::new(state));
        }
        *self
            .inner
            .rooms
            .write()
            .unwrap_or_else(PoisonError::into_inner) = rooms;
        self.set_session(Some(session));
        self.load_machine().await?;
        self.load_waiting().await?;
        // Before anything is shown: what expired while this client was away.
        self.sweep().await?;
        self.resume_queue().await
    }

    /// Asks the server what it supports.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`].
    pub async fn discover(&self) -> Result<(), ClientError> {
        Ok(self.inner.http.discover(None).await?)
    }

    /// Sends any request of the client-server API with this session's token, renewed where needed.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's answer; [`ClientError::SessionEnded`] and [`ClientError::SoftLoggedOut`] if the
    /// token is no longer good.
    pub async fn request<R: ClientRequest>(
        &self,
        request: R,
    ) -> Result<R::IncomingResponse, ClientError> {
        let bounds = (REQUEST_TIMEOUT, JSON_BYTES_MAX);
        self.request_observed(request, bounds, &|_, _| {}).await
    }

    /// The same with bounds of its own (time, bytes), while somebody watches the answer come.
    pub(crate) async fn request_observed<R: ClientRequest>(
        &self,
        request: R,
        bounds: (Duration, usize),
        progress: Progress<'_>,
    ) -> Result<R::IncomingResponse, ClientError> {
        let http = &self.inner.http;
        let token = self.token().await?;
        let refusal = match http
            .send_observed(request.clone(), Some(&token), bounds, progress)
            .await
        {
            Err(error) if error.unknown_token().is_some() => error,
            answer => return Ok(answer?),
        };
        let token = self.another_token(&token, refusal).await?;
        let again = http
            .send_observed(request, Some(&token), bounds, progress)
            .await;
        again.map_err(|error| self.ended_by(error))
    }

    /// A fresh name for a message in the send queue.
    #[must_use]
    pub fn new_transaction_id(&self) -> OwnedTransactionId {
        self.inner.rng.name().into()
    }

    /// Room events as they arrive, own ones included, from now on.
    #[must_use]
    pub fn events(&self) -> Stream<Event> {
        Stream::new(self.inner.events.subscribe())
    }

    /// Everything but room events, from now on.
    #[must_use]
    pub fn notifications(&self) -> Stream<Notification> {
        Stream::new(self.inner.notifications.subscribe())
    }

    /// Changes whenever something about a room does.
    #[must_use]
    pub fn room_changes(&self) -> watch::Receiver<u64> {
        self.inner.rooms_changed.subscribe()
    }

    /// Events as they may be shown: what has expired by the wall clock is hidden, even if that clock is not believed enough to destroy
    /// its key.
    pub(crate) fn shown(&self, mut events: Vec<Event>) -> Vec<Event> {
        let wall_ms = self.inner.time.wall_ms();
        for event in &mut events {
            event.hide_if_expired(wall_ms);
        }
        events
    }

    pub(crate) fn tell(&self, event: Event) {
        // An error only says that nobody listens.
        let _ = self.inner.events.send(Arc::new(event));
    }

    pub(crate) fn notify(&self, notification: Notification) {
        // An error only says that nobody listens.
        let _ = self.inner.notifications.send(Arc::new(notification));
    }

    /// A room, whether or not anything is known of it yet.
    #[must_use]
    pub fn room(&self, room_id: &RoomId) -> Room {
        Room::new(self.clone(), room_id.to_owned())
    }

    /// The rooms we are in.
    #[must_use]
    pub fn joined_rooms(&self) -> Vec<Room> {
        self.rooms_with(Membership::Join)
    }

    /// The rooms we are invited to.
    #[must_use]
    pub fn invited_rooms(&self) -> Vec<Room> {
        self.rooms_with(Membership::Invite)
    }

    fn rooms_with(&self, membership: Membership) -> Vec<Room> {
        let rooms = self
            .inner
            .rooms
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let rooms = rooms.values().filter(|room| room.membership == membership);
        rooms.map(|room| self.room(&room.room_id)).collect()
    }

    pub(crate) fn room_state(&self, room_id: &RoomId) -> Option<Arc<RoomState>> {
        let rooms = self
            .inner
            .rooms
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        rooms.get(room_id).cloned()
    }

    /// Looks at all rooms at once.
    pub(crate) fn with_rooms<T>(
        &self,
        look: impl FnOnce(&BTreeMap<OwnedRoomId, Arc<RoomState>>) -> T,
    ) -> T {
        look(
            &self
                .inner
                .rooms
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Takes over states that are on disk.
    pub(crate) fn set_rooms(&self, states: Vec<Arc<RoomState>>) {
        if states.is_empty() {
            return;
        }
        let mut rooms = self
            .inner
            .rooms
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let changed: Vec<_> = states.iter().map(|state| state.room_id.clone()).collect();
        rooms.extend(
            states
                .into_iter()
                .map(|state| (state.room_id.clone(), state)),
        );
        drop(rooms);
        self.inner
            .rooms_changed
            .send_modify(|count| *count = count.wrapping_add(1));
        for room_id in changed {
            self.notify(Notification::Room(room_id));
        }
    }

    /// Waits until what is known of a room satisfies `wanted`; `false` if it does not within `patience`.
    pub async fn wait_for_room(
        &self,
        room_id: &RoomId,
        patience: Duration,
        mut wanted: impl FnMut(&RoomState) -> bool + Send,
    ) -> bool {
        let mut changes = self.room_changes();
        let satisfied = async {
            loop {
                if self.room_state(room_id).is_some_and(|state| wanted(&state)) {
                    return true;
                }
                if changes.changed().await.is_err() {
                    return false;
                }
            }
        };
        within(patience, satisfied).await.unwrap_or(false)
    }

    /// Makes a room, encrypted unless `new_room` says otherwise. Its keys are for those whom it invites, and for nobody else until they
    /// are accepted.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn create_room(&self, new_room: NewRoom) -> Result<Room, ClientError> {
        let encrypted = new_room.is_encrypted();
        let invited = new_room.invited().to_vec();
        let request: create_room::v3::Request = new_room.into_request()?;
        let answer = self.request(request).await?;
        if encrypted {
            self.remember_encrypted(&answer.room_id, &invited).await?;
        }
        Ok(self.room(&answer.room_id))
    }

    /// A room that we made encrypted is, even if the server never says so.
    async fn remember_encrypted(
        &self,
        room_id: &RoomId,
        invited: &[OwnedUserId],
    ) -> Result<(), ClientError> {
        let known = self.room_state(room_id);
        let mut state = known.map_or_else(
            || RoomState::new(room_id.to_owned()),
            |state| (*state).clone(),
        );
        state.encryption.get_or_insert_default();
        let kept = self.step(|machine, _| {
            let (mut changes, ()) = machine.set_room_encrypted(room_id)?.into_parts();
            changes.extend(machine.accept_members(room_id, invited)?.into_parts().0);
            let mut batch = Batch::from(changes);
            batch.rooms.extend(state.encode());
            Ok::<_, CryptoError>((batch, ()))
        });
        kept.await??;
        self.set_rooms(vec![Arc::new(state)]);
        Ok(())
    }

    /// Joins a room by ID or alias; `via` are servers that know it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn join(
        &self,
        room: &ruma::RoomOrAliasId,
        via: &[ruma::OwnedServerName],
    ) -> Result<Room, ClientError> {
        let mut request = join_room_by_id_or_alias::v3::Request::new(room.to_owned());
        request.via = via.to_vec();
        let answer = self.request(request).await?;
        Ok(self.room(&answer.room_id))
    }

    /// A value that a program keeps in the encrypted store.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] if it cannot be read.
    pub async fn value(
        &self,
        name: &str,
    ) -> Result<Option<crate::crypto::SecretBytes>, ClientError> {
        Ok(self.inner.store.value(&app_value(name)).await?)
    }

    /// Keeps a value in the encrypted store, or removes it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] if it cannot be written.
    pub async fn set_value(
        &self,
        name: &str,
        value: Option<crate::crypto::SecretBytes>,
    ) -> Result<(), ClientError> {
        let mut batch = Batch::default();
        batch.values.push((app_value(name), value));
        Ok(self.inner.store.commit(batch).await?)
    }

    /// The pause before try number `attempt` (from 0): doubling, capped, and drawn from the upper half at random, so that many
    /// clients that lost one server do not return all at once.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let config = &self.inner.config;
        let full = config
            .retry_first
            .saturating_mul(1 << attempt.min(16))
            .min(config.retry_max);
        let full_ms = u64::try_from(full.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(full_ms / 2 + self.inner.rng.next_u64() % (full_ms / 2 + 1))
    }
}

/// The name in the store of a program's value.
pub(crate) fn app_value(name: &str) -> String {
    format!("{APP_VALUES}{name}")
}
