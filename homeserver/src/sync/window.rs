//! One look: which rooms and sections an answer has, and the answer itself.
//!
//! Invariant: the head is taken before anything is read, and memberships that moved beyond it
//! meanwhile make the look begin again. What a client asks for is told whole or not at all.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ruma::{EventId, OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId};

use super::{
    Answer, Sync, SyncError, SyncRequest, TokenError,
    device_lists::DeviceLists,
    ephemeral::Receipt,
    notify::{Changed, Feed},
    own::OwnChanges,
    token::SyncToken,
};
use crate::{
    rooms::{UserRooms, json::JsonWriter},
    store::{Membership, MembershipRow, StoreError},
};

/// What an answer takes at first, in bytes: an empty one and a message fit.
const ANSWER_BYTES: usize = 2048;

/// What one look works with.
#[derive(Debug)]
pub(super) struct Window<'a> {
    pub(super) request: &'a SyncRequest,
    /// Who asks, with which device: the key of what the device was told.
    pub(super) device: (OwnedUserId, OwnedDeviceId),
    /// The time, in ms since the epoch.
    pub(super) now_ms: i64,
    /// The position above which is told; none for everything.
    pub(super) after: Option<i64>,
    /// The position up to which is told.
    pub(super) upto: i64,
    /// The newest revision of typing before anything was read.
    pub(super) typing: i64,
    /// All rooms of the user.
    pub(super) memberships: Arc<UserRooms>,
    /// What the user's own log says.
    pub(super) own: OwnChanges,
    /// Whose messages, invites, receipts and typing are held back.
    pub(super) ignored: Arc<HashSet<OwnedUserId>>,
    /// For answers that tell everything: receipts by room.
    pub(super) receipts: HashMap<OwnedRoomId, Vec<Receipt>>,
}

impl Window<'_> {
    /// Whether rooms are told whole, whatever the client has.
    pub(super) fn is_full(&self) -> bool {
        self.after.is_none() || self.request.full_state
    }

    /// Whether the user ignores somebody.
    pub(super) fn ignores(&self, user: &str) -> bool {
        !self.ignored.is_empty() && self.ignored.iter().any(|ignored| ignored == user)
    }

    /// The revision of typing that the client has.
    pub(super) fn typing_known(&self) -> i64 {
        self.request.since.map_or(0, |since| since.typing)
    }
}

/// Whether the user is joined and wants to know of the room.
pub(super) fn is_joined(row: &MembershipRow) -> bool {
    row.membership == Membership::Join
}

/// The rooms of an answer, by what they are to the user.
#[derive(Debug, Default)]
struct Sections<'a> {
    join: BTreeMap<&'a RoomId, &'a MembershipRow>,
    invite: BTreeMap<&'a RoomId, &'a MembershipRow>,
    knock: BTreeMap<&'a RoomId, &'a MembershipRow>,
    leave: BTreeMap<&'a RoomId, &'a MembershipRow>,
    /// Those that the filter hides.
    hidden: Vec<&'a MembershipRow>,
}

impl Sync {
    /// Looks once; `None` if a membership moved beyond the head while looking and `strict` asks
    /// for another try.
    pub(super) async fn try_look(
        &self,
        request: &SyncRequest,
        feed: &Feed,
        strict: bool,
    ) -> Result<Option<Answer>, SyncError> {
        let upto = self.feeds.seen();
        let typing = self.context.typing.revision();
        let after = request.since.map(|since| since.position);
        if after.is_some_and(|after| after > upto) {
            return Err(SyncError::Token(TokenError));
        }
        let changed = after.and_then(|after| self.feeds.changed(feed, after, upto));
        if let Some(changed) = &changed
            && !request.full_state
            && self.is_quiet(request, changed, upto, typing).await?
        {
            return Ok(Some(self.empty_answer(request, upto, typing).await?));
        }
        let memberships = self.context.rooms.memberships(&request.user_id).await?;
        let read_own = changed.as_ref().is_none_or(|changed| changed.own);
        let own = self
            .own_changes(&request.user_id, after, upto, read_own)
            .await?;
        let rooms = self
            .rooms_concerned(request, &memberships, changed, &own)
            .await?;
        let moved = |room: &RoomId| memberships.get(room).is_some_and(|row| row.position > upto);
        if strict && rooms.iter().any(|room| moved(room)) {
            return Ok(None);
        }
        let mut window = Window {
            request,
            device: (request.user_id.clone(), request.device_id.clone()),
            now_ms: self.context.rooms.showing_ms(),
            after,
            upto,
            typing,
            memberships: Arc::clone(&memberships),
            own,
            ignored: self.context.store.ignored_users(&request.user_id).await?,
            receipts: HashMap::new(),
        };
        let mut sections = sections_of(&window, &memberships, &rooms);
        if !sections.invite.is_empty()
            && self.context.rooms.blocks_invites(&request.user_id).await?
        {
            // A first answer tells them once the user blocks them no longer.
            sections.invite.clear();
        }
        self.stop_following(feed, &window, &rooms);
        if window.is_full() {
            window.receipts = self.prepare(&window, &sections).await?;
        }
        self.write(&window, &sections)
            .await
            .map(Some)
            .map_err(SyncError::Store)
    }

    /// Whether nothing at all happened for the client.
    async fn is_quiet(
        &self,
        request: &SyncRequest,
        changed: &Changed,
        upto: i64,
        typing: i64,
    ) -> Result<bool, StoreError> {
        let Some(since) = request.since else {
            return Ok(false);
        };
        let typed = typing > since.typing;
        let keys = self.feeds.keys_changed_since(since.position, upto);
        Ok(changed.rooms.is_empty()
            && !changed.own
            && keys.is_some_and(|keys| keys.is_empty())
            && !typed
            && !self.has_to_device(request, since.to_device).await?)
    }

    /// What a token says of typing.
    fn typing_told(&self, revision: i64, memberships: &UserRooms) -> i64 {
        let sees = |room: &RoomId| memberships.get(room).is_some_and(is_joined);
        self.context.typing.token(revision, sees)
    }

    async fn empty_answer(
        &self,
        request: &SyncRequest,
        upto: i64,
        typing: i64,
    ) -> Result<Answer, StoreError> {
        let memberships = self.context.rooms.memberships(&request.user_id).await?;
        let token = SyncToken {
            position: upto,
            to_device: upto,
            typing: self.typing_told(typing, &memberships),
        };
        let mut out = JsonWriter::with_capacity(192);
        out.open();
        self.write_key_counts(&mut out, request).await?;
        out.key("next_batch").string(&token.to_string()).close();
        Ok(Answer {
            body: out.into_bytes(),
            token,
            is_empty: true,
        })
    }

    /// The rooms that an answer may have something to tell of.
    async fn rooms_concerned(
        &self,
        request: &SyncRequest,
        memberships: &UserRooms,
        changed: Option<Changed>,
        own: &OwnChanges,
    ) -> Result<BTreeSet<OwnedRoomId>, StoreError> {
        let Some(since) = request.since else {
            return Ok(memberships.keys().cloned().collect());
        };
        let mut rooms: BTreeSet<OwnedRoomId> = own.rooms.iter().cloned().collect();
        let joined = || {
            memberships
                .values()
                .filter(|row| is_joined(row))
                .map(|row| &*row.room_id)
        };
        rooms.extend(self.context.typing.rooms_since(since.typing));
        if self.context.typing.was_lost(since.typing) {
            rooms.extend(joined().map(ToOwned::to_owned));
        }
        match changed {
            Some(changed) => rooms.extend(changed.rooms),
            None => {
                let joined: Vec<&RoomId> = joined().collect();
                let newer = self
                    .context
                    .store
                    .rooms_changed_since(&joined, since.position);
                rooms.extend(newer.await?);
            }
        }
        if request.full_state {
            rooms.extend(joined().map(ToOwned::to_owned));
        }
        rooms.retain(|room| memberships.contains_key(room));
        Ok(rooms)
    }

    /// Rooms that the user is in no longer are not heard of again.
    fn stop_following(&self, feed: &Feed, window: &Window<'_>, rooms: &BTreeSet<OwnedRoomId>) {
        for room in rooms {
            let row = window.memberships.get(room);
            if row.is_none_or(|row| !is_joined(row)) && !window.own.memberships.contains(room) {
                self.feeds.unfollow(feed, room, window.upto);
            }
        }
    }

    async fn write(
        &self,
        window: &Window<'_>,
        sections: &Sections<'_>,
    ) -> Result<Answer, StoreError> {
        let mut out = JsonWriter::with_capacity(ANSWER_BYTES);
        let mut lists = DeviceLists::default();
        out.open();
        let mut told = self.write_account_data(&mut out, window).await?;
        told |= self.write_presence(&mut out, window).await?;
        let (messages, to_device) = self.write_to_device(&mut out, window).await?;
        told |= messages;
        told |= self
            .write_rooms(&mut out, window, sections, &mut lists)
            .await?;
        if let Some(after) = window.after {
            for row in &sections.hidden {
                self.note_hidden(window, row, &mut lists).await?;
            }
            let user = &window.request.user_id;
            let lists = self
                .finish_device_lists(user, lists, after, window.upto)
                .await?;
            if !lists.is_empty() {
                lists.write(out.key("device_lists"));
                told = true;
            }
        }
        self.write_key_counts(&mut out, window.request).await?;
        let token = SyncToken {
            position: window.upto,
            to_device,
            typing: self.typing_told(window.typing, &window.memberships),
        };
        out.key("next_batch").string(&token.to_string()).close();
        Ok(Answer {
            body: out.into_bytes(),
            token,
            is_empty: !told,
        })
    }

    async fn write_rooms(
        &self,
        out: &mut JsonWriter,
        window: &Window<'_>,
        sections: &Sections<'_>,
        lists: &mut DeviceLists,
    ) -> Result<bool, StoreError> {
        let start = out.len();
        let mut told = false;
        out.key("rooms").open();
        let mut section = Section::begin(out, "join");
        for (room, row) in &sections.join {
            let mark = section.entry(out, room);
            let written = self.write_joined(out, window, row, lists).await?;
            section.finish_entry(out, mark, written);
        }
        told |= section.end(out);
        let mut section = Section::begin(out, "leave");
        for (room, row) in &sections.leave {
            let mark = section.entry(out, room);
            let written = self.write_left(out, window, row, lists).await?;
            section.finish_entry(out, mark, written);
        }
        told |= section.end(out);
        for (name, key, rooms) in [
            ("invite", "invite_state", &sections.invite),
            ("knock", "knock_state", &sections.knock),
        ] {
            let mut section = Section::begin(out, name);
            for (room, row) in rooms {
                let mark = section.entry(out, room);
                let written = self.write_stripped(out, window, row, key).await?;
                section.finish_entry(out, mark, written);
            }
            told |= section.end(out);
        }
        if told {
            out.close();
        } else {
            out.truncate(start);
        }
        Ok(told)
    }
}

/// A section of `rooms` under construction: it is taken back if no room is in it.
struct Section {
    start: usize,
    any: bool,
}

impl Section {
    fn begin(out: &mut JsonWriter, name: &str) -> Self {
        let start = out.len();
        out.key(name).open();
        Self { start, any: false }
    }

    /// Begins a room; what is written of it follows.
    fn entry(&mut self, out: &mut JsonWriter, room: &RoomId) -> usize {
        let mark = out.len();
        out.key(room.as_str());
        mark
    }

    fn finish_entry(&mut self, out: &mut JsonWriter, mark: usize, written: bool) {
        if written {
            self.any = true;
        } else {
            out.truncate(mark);
        }
    }

    fn end(self, out: &mut JsonWriter) -> bool {
        if self.any {
            out.close();
        } else {
            out.truncate(self.start);
        }
        self.any
    }
}

/// Sorts the rooms concerned by what they are to the user.
fn sections_of<'a>(
    window: &Window<'_>,
    memberships: &'a UserRooms,
    rooms: &BTreeSet<OwnedRoomId>,
) -> Sections<'a> {
    let mut sections = Sections::default();
    let filter = &window.request.filter;
    let rows = rooms.iter().filter_map(|room| memberships.get(room));
    for row in rows {
        let room = &*row.room_id;
        if !filter.allows_room(room) {
            sections.hidden.push(row);
            continue;
        }
        // What one is told of a room that one is not in is the change of membership alone.
        let changed = window.after.is_none() || window.own.memberships.contains(room);
        match &row.membership {
            Membership::Join => {
                sections.join.insert(room, row);
            }
            Membership::Invite if changed => {
                sections.invite.insert(room, row);
            }
            Membership::Knock if changed => {
                sections.knock.insert(room, row);
            }
            Membership::Leave | Membership::Ban
                if changed
                    && !row.forgotten
                    && (window.after.is_some() || filter.include_leave) =>
            {
                sections.leave.insert(room, row);
            }
            _ => {}
        }
    }
    sections
}

impl Sync {
    /// Reads for all rooms of an answer at once what it will need, and its receipts.
    async fn prepare(
        &self,
        window: &Window<'_>,
        sections: &Sections<'_>,
    ) -> Result<HashMap<OwnedRoomId, Vec<Receipt>>, StoreError> {
        let (rooms, store) = (&self.context.rooms, &self.context.store);
        let limit = window.request.filter.timeline.limit();
        let mut wanted = Vec::new();
        for room in sections.join.keys() {
            let interval = super::timeline::Interval {
                after: None,
                upto: window.upto,
            };
            let rows = self.rows(room, interval, limit + 1).await?;
            wanted.extend(rows.event_ids());
            if let Some(snapshot) = rooms.snapshot(room).await? {
                let state = snapshot.state.iter();
                let few = state.filter(|((kind, _), _)| *kind != "m.room.member".into());
                wanted.extend(few.map(|(_, id)| id.clone()));
            }
        }
        let events = store.events(&wanted).await?;
        let own = events
            .iter()
            .filter(|event| event.pdu.sender == window.request.user_id);
        let own: Vec<&EventId> = own.map(|event| event.id()).collect();
        store.transactions_of(&own).await?;
        let joined: Vec<&RoomId> = sections.join.keys().copied().collect();
        let user = &window.request.user_id;
        let after = window.after.unwrap_or(0);
        let mut receipts: HashMap<OwnedRoomId, Vec<Receipt>> = HashMap::new();
        for row in store.receipts_in(&joined, user, after, window.upto).await? {
            receipts
                .entry(row.room_id.clone())
                .or_default()
                .push(Receipt::from(&row));
        }
        Ok(receipts)
    }
}
