//! A room as last committed: its row, its state and its members.
//!
//! Invariant: a snapshot never changes; a commit makes a new one that shares what did not change.

use std::{ops::Deref, sync::Arc};

use imbl::{OrdMap, OrdSet};
use passeur_protocol::versions;
use quick_cache::Weighter;
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, ServerName, UserId,
    events::StateEventType, room_version_rules::RoomVersionRules,
};

use crate::store::{Membership, MembershipRow, RoomRow, RoomStateMap, StateGroup, StoreError};

/// A room as last committed. Derefs to its row: id, version, tip, state group, extremities, depth.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The row.
    pub row: RoomRow,
    /// The rules of its version.
    pub rules: &'static RoomVersionRules,
    /// The current state.
    pub state: RoomStateMap,
    /// The group of the current state and those of its path, nearest first.
    pub path: Vec<Arc<StateGroup>>,
    /// Who is in it.
    pub members: Members,
}

impl Deref for Snapshot {
    type Target = RoomRow;

    fn deref(&self) -> &RoomRow {
        &self.row
    }
}

impl Snapshot {
    /// Puts a snapshot together from what was read.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the room's version is not supported.
    pub(super) fn new(
        row: RoomRow,
        state: RoomStateMap,
        path: Vec<Arc<StateGroup>>,
        members: Vec<MembershipRow>,
    ) -> Result<Self, StoreError> {
        let rules = versions::rules(&row.version).ok_or(StoreError::corrupt("rooms", "version"))?;
        let mut all = Members::default();
        for member in members {
            all.set(
                &member.user_id,
                Some(member.membership),
                member.event_id,
                member.is_local,
            );
        }
        Ok(Self {
            row,
            rules,
            state,
            path,
            members: all,
        })
    }

    /// The id of the event at a place of the current state.
    pub fn state_id(&self, kind: &StateEventType, state_key: &str) -> Option<&EventId> {
        self.state
            .get(&(kind.clone(), state_key.to_owned()))
            .map(Deref::deref)
    }
}

/// What a snapshot takes in any room, in bytes.
const SNAPSHOT_BYTES_BASE: u64 = 3_500;
/// What a member takes, in bytes.
const MEMBER_BYTES: u64 = 200;
/// What an event of the state takes, in bytes: its place and its id.
const STATE_EVENT_BYTES: u64 = 150;

/// Weighs snapshots by the memory that they take.
#[derive(Clone, Debug)]
pub(super) struct Weight;

impl Weighter<OwnedRoomId, Arc<Snapshot>> for Weight {
    fn weight(&self, _: &OwnedRoomId, snapshot: &Arc<Snapshot>) -> u64 {
        let (members, state) = (snapshot.members.by_user.len(), snapshot.state.len());
        SNAPSHOT_BYTES_BASE + MEMBER_BYTES * members as u64 + STATE_EVENT_BYTES * state as u64
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// How the user is related to the room.
    pub membership: Membership,
    /// The event that says so.
    pub event_id: OwnedEventId,
    /// Whether the user is one of ours.
    pub is_local: bool,
}

/// The members of a room. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Everyone with a membership, those who left among them.
    pub by_user: OrdMap<OwnedUserId, Member>,
    /// Our own users who are joined.
    pub local_joined: OrdSet<OwnedUserId>,
    /// The servers with joined users, and how many: ours among them.
    pub servers: OrdMap<OwnedServerName, usize>,
    /// How many are joined.
    pub joined: usize,
    /// How many are invited.
    pub invited: usize,
}

impl Members {
    /// The membership of a user; `leave` for one who never had any.
    pub fn membership(&self, user: &UserId) -> Membership {
        self.by_user
            .get(user)
            .map_or(Membership::Leave, |member| member.membership.clone())
    }

    /// Whether a user is joined.
    pub fn is_joined(&self, user: &UserId) -> bool {
        self.membership(user) == Membership::Join
    }

    /// Whether a server has a joined user.
    pub fn has_server(&self, server: &ServerName) -> bool {
        self.servers.contains_key(server)
    }

    /// Everyone who is joined.
    pub fn joined(&self) -> impl Iterator<Item = (&OwnedUserId, &Member)> {
        self.by_user
            .iter()
            .filter(|(_, member)| member.membership == Membership::Join)
    }

    /// Sets or removes a membership.
    pub(super) fn set(
        &mut self,
        user: &UserId,
        membership: Option<Membership>,
        event_id: OwnedEventId,
        is_local: bool,
    ) {
        let old = self
            .by_user
            .get(user)
            .map(|member| member.membership.clone());
        self.count(user, old.as_ref(), false, is_local);
        self.count(user, membership.as_ref(), true, is_local);
        match membership {
            Some(membership) => {
                let member = Member {
                    membership,
                    event_id,
                    is_local,
                };
                self.by_user.insert(user.to_owned(), member);
            }
            None => {
                self.by_user.remove(user);
            }
        }
    }

    fn count(
        &mut self,
        user: &UserId,
        membership: Option<&Membership>,
        more: bool,
        is_local: bool,
    ) {
        let step = |count: usize| {
            if more {
                count + 1
            } else {
                count.saturating_sub(1)
            }
        };
        match membership {
            Some(Membership::Join) => {
                self.joined = step(self.joined);
                let server = user.server_name().to_owned();
                match step(self.servers.get(&server).copied().unwrap_or(0)) {
                    0 => self.servers.remove(&server),
                    count => self.servers.insert(server, count),
                };
                if is_local && more {
                    self.local_joined.insert(user.to_owned());
                } else if is_local {
                    self.local_joined.remove(user);
                }
            }
            Some(Membership::Invite) => self.invited = step(self.invited),
            _ => {}
        }
    }
}
