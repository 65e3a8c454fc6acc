//! Whose keys the client must ask for again, and whose it need not track any longer.
//!
//! Invariant: a user whose keys changed, or with whom a room is shared for the first time, is always
//! among the changed, and so is whoever the user has signed; one too many costs a request, one too few a message that cannot be read.
//! Nobody is in both lists.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user>

use std::collections::{BTreeSet, HashSet};

use ruma::{
    EventId, OwnedUserId, UserId,
    events::{StateEventType, TimelineEventType},
};

use super::{
    KeyChanges, Sync,
    state::State,
    timeline::Timeline,
    window::{Window, is_joined},
};
use crate::{
    rooms::{Snapshot, json::JsonWriter},
    store::{LogKind, Membership, MembershipRow, RoomStateMap, Scope, StoreError},
};

/// Users that one query of the log asks for.
const SCOPES_PER_QUERY_MAX: usize = 500;
/// Rows that one such query reads: each user is wanted once, but may have changed often.
const ROWS_PER_QUERY_MAX: u64 = 5000;

/// What an answer finds out on its way through the rooms.
#[derive(Debug, Default)]
pub(super) struct DeviceLists {
    /// Users whose keys changed, or who share a room newly.
    changed: BTreeSet<OwnedUserId>,
    /// Users with whom perhaps no room is shared any longer.
    gone: BTreeSet<OwnedUserId>,
}

impl DeviceLists {
    /// The client has joined a room: it shares it with all who are there. Whether the room is encrypted is not asked: keys may
    /// change hands before it is, and one name too many costs no more than a request.
    pub(super) fn joined(&mut self, snapshot: &Snapshot) {
        self.changed
            .extend(snapshot.members.joined().map(|(user, _)| user.clone()));
    }

    /// The client has left a room: of those who are there, it hears of those who were so `then`.
    pub(super) fn left(&mut self, snapshot: &Snapshot, then: &RoomStateMap) {
        let known = |user: &UserId, now: &EventId| {
            let place = (StateEventType::RoomMember, user.as_str().to_owned());
            then.get(&place).is_some_and(|id| id == now)
        };
        let members = snapshot.members.joined();
        let members = members.filter(|(user, member)| known(user, &member.event_id));
        self.gone.extend(members.map(|(user, _)| user.clone()));
    }

    /// Somebody came to a room that the client is in, or went.
    pub(super) fn member(&mut self, snapshot: &Snapshot, user: &str) {
        let Ok(user) = <&UserId>::try_from(user) else {
            return;
        };
        // A changed name changes no keys, but is not worth another read to tell apart.
        match snapshot.members.membership(user) {
            Membership::Join => self.changed.insert(user.to_owned()),
            _ => self.gone.insert(user.to_owned()),
        };
    }

    /// Members of a room that the client is in came or went.
    pub(super) fn members(&mut self, snapshot: &Snapshot, timeline: &Timeline, state: &State) {
        let mut told = timeline.events.iter().chain(&timeline.state_left_out);
        if state.encryption_changed
            || told.any(|event| event.pdu.kind == TimelineEventType::RoomEncryption)
        {
            // Encrypted from now on: the room counts as newly shared with all who are there.
            self.joined(snapshot);
        }
        if !timeline.members_changed && state.members_changed.is_empty() {
            return;
        }
        let events = timeline.events.iter().chain(&timeline.state_left_out);
        let members = events.filter(|event| event.pdu.kind == TimelineEventType::RoomMember);
        for user in members.filter_map(|event| event.pdu.state_key.as_deref()) {
            self.member(snapshot, user);
        }
        for user in &state.members_changed {
            self.member(snapshot, user.as_str());
        }
    }

    /// Both lists.
    pub(super) fn into_changes(self) -> KeyChanges {
        KeyChanges {
            changed: self.changed,
            left: self.gone,
        }
    }

    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty()
    }

    /// Writes both lists, as a value.
    pub(super) fn write(&self, out: &mut JsonWriter) {
        out.open().key("changed").value(&self.changed);
        out.key("left").value(&self.gone).close();
    }
}

impl Sync {
    /// Notes the people of a room that the filter hides: keys do not depend on what is shown.
    pub(super) async fn note_hidden(
        &self,
        window: &Window<'_>,
        row: &MembershipRow,
        lists: &mut DeviceLists,
    ) -> Result<(), StoreError> {
        let Some(snapshot) = self.context.rooms.snapshot(&row.room_id).await? else {
            return Ok(());
        };
        if is_joined(row) {
            match self.known_upto(window, row).await? {
                None => lists.joined(&snapshot),
                Some(after) => {
                    self.add_members_of(lists, &snapshot, after, window.upto)
                        .await?;
                }
            }
        } else if window.own.memberships.contains(&row.room_id) {
            let user = &window.request.user_id;
            let standing = self.context.rooms.standing(&row.room_id, user).await?;
            if let Some(stay) = self.stay(user, window.after, &standing).await? {
                lists.left(&snapshot, &stay.end);
            }
        }
        Ok(())
    }

    /// Adds the users whose keys changed in an interval, and takes out of the list of those who
    /// are gone whoever is still in a common room.
    pub(super) async fn finish_device_lists(
        &self,
        user: &UserId,
        mut lists: DeviceLists,
        after: i64,
        upto: i64,
    ) -> Result<DeviceLists, StoreError> {
        let changed = match self.feeds.keys_changed_since(after, upto) {
            Some(changed) => changed,
            None => self.read_changed_keys(user, after, upto).await?,
        };
        if changed.contains(user) {
            // What changed may be whom they have signed, which is shown on the other's key, and to them alone.
            let signed = self.context.store.signatures_by(user).await?;
            let signed = signed.into_values().flatten();
            lists.changed.extend(signed.map(|made| made.target_user));
        }
        for other in changed {
            if other == user || self.context.rooms.shares_room(user, &other).await? {
                lists.changed.insert(other);
            }
        }
        lists.gone.remove(user);
        for other in std::mem::take(&mut lists.gone) {
            if !self.context.rooms.shares_room(user, &other).await? {
                lists.changed.remove(&other);
                lists.gone.insert(other);
            }
        }
        Ok(lists)
    }

    /// The users sharing a room whose keys changed in an interval, by the log.
    pub(super) async fn read_changed_keys(
        &self,
        user: &UserId,
        after: i64,
        upto: i64,
    ) -> Result<HashSet<OwnedUserId>, StoreError> {
        let mut changed = HashSet::new();
        if after >= upto {
            return Ok(changed);
        }
        let sharing = self.context.rooms.users_sharing_with(user).await?;
        let users: Vec<&UserId> = sharing.iter().map(|user| &**user).collect();
        for some in users.chunks(SCOPES_PER_QUERY_MAX) {
            let scopes: Vec<Scope<'_>> = some.iter().map(|user| Scope::Keys(user)).collect();
            let mut from = after;
            loop {
                let limit = ROWS_PER_QUERY_MAX;
                let rows = self
                    .context
                    .store
                    .log_of_many(&scopes, from, upto, limit)
                    .await?;
                let keys = rows.iter().filter(|row| row.kind == LogKind::DeviceList);
                changed
                    .extend(keys.filter_map(|row| OwnedUserId::try_from(row.scope.get(1..)?).ok()));
                match rows.last() {
                    Some(last) if rows.len() as u64 == limit => from = last.position,
                    _ => break,
                }
            }
        }
        Ok(changed)
    }
}
