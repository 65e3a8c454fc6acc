//! Rooms: the async shell around the protocol crate.
//!
//! Invariant: a room changes only through its queue ([`queue`]), one append at a time, checked
//! against the room's tip; no lock is held over I/O. Caches hold what was committed, or nothing.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicI64},
};

use quick_cache::{Weighter, sync::Cache};
use ruma::{
    OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId, events::StateEventType,
    signatures::Ed25519KeyPair,
};

use crate::{
    clock::{Clock, Rng},
    outbound::{ExpirySupport, Remote, ServerKeys},
    store::{CacheShare, Event, MembershipRow, Store, StoreError, bounded},
};

mod absence;
mod acl;
mod aliases;
mod annotation;
mod backfill;
mod bundles;
mod by_time;
mod chain;
mod create;
mod deadline;
mod departures;
mod directory;
pub mod ephemeral;
pub mod expiry;
mod extremities;
mod fallback;
mod fetch;
mod heritage;
mod hierarchy;
mod hosting;
mod import;
mod invite;
mod join;
mod joining;
pub mod json;
mod knock;
mod leave;
mod local;
mod offer;
mod order;
mod orphans;
mod people;
mod policy;
pub mod presence;
pub mod projection;
mod queue;
mod reading;
mod receive;
mod redaction;
mod renewal;
mod resolve;
mod restricted;
mod retract;
mod send;
mod serving;
mod snapshot;
mod space;
mod summary;
mod support;
#[cfg(test)]
mod tests;
mod thirdparty;
mod thread_root;
mod threads;
pub mod typing;
mod upgrade;

pub use self::{
    absence::stay_of,
    by_time::Moment,
    create::{CreateError, InitialState, NewRoom, Preset},
    departures::Departures,
    directory::{DirectoryError, DirectoryPage, DirectoryQuery},
    fallback::Fallback,
    hierarchy::{HierarchyError, HierarchyPage, HierarchyQuery},
    hosting::{HostError, Hosted},
    invite::{IncomingInvite, into_json},
    join::JoinError,
    local::{MembershipChange, Profile},
    offer::Offer,
    reading::{Reader, Standing},
    receive::ReceiveError,
    send::{Draft, SendError, Transaction},
    serving::{Between, ServeError},
    snapshot::{Member, Members, Snapshot},
    space::{Child, SpaceForServer, SpaceRoom},
    summary::Summary,
    support::ServersWithoutSupport,
    thirdparty::ThirdPartyInvite,
    threads::{ThreadPage, ThreadQuery},
    upgrade::{Upgrade, UpgradeError},
};

/// What most rooms' snapshots take, in bytes.
const SNAPSHOT_BYTES_TYPICAL: u64 = 8_000;
/// What most users' lists of rooms take, in bytes.
const USER_ROOMS_BYTES_TYPICAL: u64 = 3_000;
/// What a user's list takes beside its rooms, in bytes.
const USER_BYTES_BASE: u64 = 150;
/// What a room in a user's list takes, in bytes, without an invite's stripped state.
const MEMBERSHIP_BYTES: u64 = 350;
/// How often a room is read again if it changes meanwhile.
const READ_TRIES_MAX: usize = 8;

/// What rooms are built on.
#[derive(Clone, Debug)]
pub struct RoomsContext {
    /// The database.
    pub store: Arc<Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Our own name.
    pub server_name: OwnedServerName,
    /// The key that signs our events.
    pub key_pair: Arc<Ed25519KeyPair>,
    /// Requests to other servers.
    pub remote: Remote,
    /// Other servers' signing keys.
    pub server_keys: ServerKeys,
    /// Who types: whoever is not in a room any longer does not.
    pub typing: Arc<typing::Typing>,
}

/// All rooms of a local user: the membership in each.
pub type UserRooms = HashMap<OwnedRoomId, MembershipRow>;

/// Weighs users' lists of rooms by the memory that they take.
#[derive(Clone, Debug)]
struct UserRoomsWeight;

impl Weighter<OwnedUserId, Arc<UserRooms>> for UserRoomsWeight {
    fn weight(&self, _: &OwnedUserId, rooms: &Arc<UserRooms>) -> u64 {
        let stripped = rooms.values().filter_map(|row| row.stripped_state.as_ref());
        let stripped: usize = stripped.map(String::len).sum();
        USER_BYTES_BASE + MEMBERSHIP_BYTES * rooms.len() as u64 + stripped as u64
    }
}

/// The rooms of this server.
pub struct Rooms {
    context: RoomsContext,
    snapshots: Arc<Cache<OwnedRoomId, Arc<Snapshot>, snapshot::Weight>>,
    user_rooms: Arc<Cache<OwnedUserId, Arc<UserRooms>, UserRoomsWeight>>,
    queues: queue::Queues,
    spaces: space::SpaceCache,
    acls: acl::AclCache,
    joining: joining::Joining,
    /// Which other servers say that they destroy what expires.
    support: ExpirySupport,
    orphans: orphans::Orphans,
    /// History is taken in one answer after another: each begins where the last one ended.
    history: tokio::sync::Mutex<()>,
    /// The time that the newest creation of a room was given, in ms since the epoch.
    created_ms: AtomicI64,
}

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rooms").finish_non_exhaustive()
    }
}

impl Rooms {
    /// The rooms in a database.
    pub fn new(context: RoomsContext) -> Arc<Self> {
        let snapshot_bytes = context.store.cache_share(CacheShare::Snapshots);
        let user_rooms_bytes = context.store.cache_share(CacheShare::UserRooms);
        let support = ExpirySupport::new(context.remote.clone(), Arc::clone(&context.clock));
        Arc::new(Self {
            context,
            support,
            snapshots: Arc::new(bounded(
                SNAPSHOT_BYTES_TYPICAL,
                snapshot_bytes,
                snapshot::Weight,
            )),
            user_rooms: Arc::new(bounded(
                USER_ROOMS_BYTES_TYPICAL,
                user_rooms_bytes,
                UserRoomsWeight,
            )),
            queues: queue::Queues::default(),
            spaces: space::space_cache(),
            acls: acl::acl_cache(),
            joining: joining::Joining::default(),
            orphans: orphans::Orphans::default(),
            history: tokio::sync::Mutex::default(),
            created_ms: AtomicI64::new(i64::MIN),
        })
    }

    fn store(&self) -> &Store {
        &self.context.store
    }

    /// Our own name.
    pub fn server_name(&self) -> &OwnedServerName {
        &self.context.server_name
    }

    /// Whether a user is one of ours.
    pub fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.context.server_name
    }

    /// The time by which content is shown or hidden, in ms since the epoch: never earlier than
    /// before, whatever the clock says. Every [`projection::View`] has this one.
    pub fn showing_ms(&self) -> i64 {
        self.context.store.showing_ms(&*self.context.clock)
    }

    /// A room as last committed, if this server has ever been in it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn snapshot(&self, room: &RoomId) -> Result<Option<Arc<Snapshot>>, StoreError> {
        if let Some(snapshot) = self.snapshots.get(room) {
            return Ok(Some(snapshot));
        }
        let store = &self.context.store;
        for _ in 0..READ_TRIES_MAX {
            let mark = store.heads().mark();
            let Some(row) = store.room(room).await? else {
                return Ok(None);
            };
            let path = store.state_path(row.state_group).await?;
            let state = store.state_at(row.state_group).await?;
            let members = store.members_of(room).await?;
            // The statements are not one transaction: all is well only if the room stood still.
            if store.room(room).await?.as_ref() != Some(&row) {
                continue;
            }
            let snapshot = Arc::new(Snapshot::new(row, state, path, members)?);
            if store.heads().mark() == mark {
                self.snapshots
                    .insert(room.to_owned(), Arc::clone(&snapshot));
                // A commit that came between the check and the insertion has put a newer one.
                if store.heads().mark() != mark {
                    self.snapshots.remove(room);
                }
            }
            return Ok(Some(snapshot));
        }
        Err(StoreError::corrupt("rooms", "tip"))
    }

    /// The current state event at a place.
    ///
    /// # Errors
    /// What the database says.
    pub async fn state_event(
        &self,
        snapshot: &Snapshot,
        kind: &StateEventType,
        state_key: &str,
    ) -> Result<Option<Arc<Event>>, StoreError> {
        match snapshot.state_id(kind, state_key) {
            Some(id) => self.context.store.event(id).await,
            None => Ok(None),
        }
    }

    /// All rooms that a local user has anything to do with.
    ///
    /// # Errors
    /// What the database says.
    pub async fn memberships(&self, user: &UserId) -> Result<Arc<UserRooms>, StoreError> {
        if let Some(rooms) = self.user_rooms.get(user) {
            return Ok(rooms);
        }
        let store = &self.context.store;
        let mark = store.heads().mark();
        let rows = store.memberships_of(user).await?;
        let rooms: UserRooms = rows
            .into_iter()
            .map(|row| (row.room_id.clone(), row))
            .collect();
        let rooms = Arc::new(rooms);
        if store.heads().mark() == mark {
            self.user_rooms.insert(user.to_owned(), Arc::clone(&rooms));
            if store.heads().mark() != mark {
                self.user_rooms.remove(user);
            }
        }
        Ok(rooms)
    }

    /// Forgets what is remembered of a room, after a change that its queue did not make.
    #[cfg(test)]
    pub(crate) fn forget_room(&self, room: &RoomId) {
        self.snapshots.remove(room);
    }

    /// Forgets what is remembered of a user's rooms, after a change to a row that the queue did
    /// not make.
    pub fn forget_memberships(&self, user: &UserId) {
        self.user_rooms.remove(user);
    }

    /// Whether two users are joined to a common room, at least one of them being ours.
    ///
    /// # Errors
    /// What the database says.
    pub async fn shares_room(&self, ours: &UserId, other: &UserId) -> Result<bool, StoreError> {
        for (room, membership) in self.memberships(ours).await?.iter() {
            if membership.membership == crate::store::Membership::Join
                && let Some(snapshot) = self.snapshot(room).await?
                && snapshot.members.is_joined(other)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Everyone who is joined to a room that this local user is joined to, the user included.
    ///
    /// # Errors
    /// What the database says.
    pub async fn users_sharing_with(
        &self,
        ours: &UserId,
    ) -> Result<std::collections::BTreeSet<OwnedUserId>, StoreError> {
        let mut users = std::collections::BTreeSet::from([ours.to_owned()]);
        for (room, membership) in self.memberships(ours).await?.iter() {
            if membership.membership == crate::store::Membership::Join
                && let Some(snapshot) = self.snapshot(room).await?
            {
                users.extend(snapshot.members.joined().map(|(user, _)| user.clone()));
            }
        }
        Ok(users)
    }
}
