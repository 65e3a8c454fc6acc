//! A joined room in an answer.
//!
//! Invariant: a room is told only if something in it is new to the client; its counts go along.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync> ("Joined Room")

use std::sync::Arc;

use ruma::{OwnedUserId, RoomId, UserId};

use super::{
    Sync, SyncRequest,
    device_lists::DeviceLists,
    ephemeral::{self, Receipt},
    filter::SyncFilter,
    state::{State, StateQuery},
    summary::Summary,
    timeline::{Interval, Timeline, TimelineQuery},
    unread::{Counts, RoomCounts},
    window::Window,
};
use crate::{
    rooms::{
        Reader, Snapshot,
        json::JsonWriter,
        projection::{self, Extras, View},
    },
    store::{Event, Membership, MembershipRow, StoreError},
};

/// Changes of a user's own membership in one interval that are followed back; with more, the room
/// counts as newly joined.
const OWN_CHANGES_MAX: usize = 16;

impl Sync {
    /// Writes a joined room, as a value; answers whether there is anything to tell.
    pub(super) async fn write_joined(
        &self,
        out: &mut JsonWriter,
        window: &Window<'_>,
        row: &MembershipRow,
        lists: &mut DeviceLists,
    ) -> Result<bool, StoreError> {
        let Some(snapshot) = self.context.rooms.snapshot(&row.room_id).await? else {
            return Ok(false);
        };
        let known_upto = self.known_upto(window, row).await?;
        let timeline = self.joined_timeline(window, &snapshot, known_upto).await?;
        // The whole state is told on request even of rooms that the client knows.
        let full = known_upto.is_none() || window.request.full_state;
        // Heroes stand for a room from when it has no name any more.
        let renamed = timeline.renamed();
        let summary = match full || renamed || timeline.members_changed || timeline.limited {
            true => Some(self.summary(&snapshot, &window.request.user_id).await?),
            false => None,
        };
        let known = known_upto.filter(|_| !full);
        let state = self
            .joined_state(window, &snapshot, &timeline, known, summary.as_ref())
            .await?;
        self.note_members(lists, window, &snapshot, known_upto, (&timeline, &state))
            .await?;
        let mut receipts = self
            .receipts(window, &row.room_id, &timeline, known_upto)
            .await?;
        receipts.retain(|receipt| !window.ignores(&receipt.user));
        let typing = self.typing(window, &row.room_id);
        let data = self
            .room_account_data(window, &row.room_id, known_upto.is_none())
            .await?;
        let read = receipts
            .iter()
            .any(|receipt| ephemeral::is_own(receipt, &window.request.user_id));
        let told =
            full || read || timeline.has_news() || !state.events.is_empty() || !data.is_empty();
        let start = out.len();
        out.open();
        let ephemeral = write_ephemeral(
            out,
            &window.request.filter,
            &row.room_id,
            &receipts,
            typing.as_deref(),
        );
        if !told && !ephemeral {
            out.truncate(start);
            return Ok(false);
        }
        let members_changed = timeline.members_changed || !state.members_changed.is_empty();
        if let Some(summary) = summary.filter(|_| full || renamed || members_changed) {
            summary.write(out.key("summary"));
        }
        if !data.is_empty() {
            write_list(out.key("account_data"), &data);
        }
        self.write_events(out, window, &timeline, &state).await?;
        let counts = self.unread(&window.request.user_id, &snapshot).await?;
        write_counts(out, &counts, window.request.filter.threads);
        out.close();
        Ok(true)
    }

    /// Notes whose devices a client follows from now on, or no longer.
    async fn note_members(
        &self,
        lists: &mut DeviceLists,
        window: &Window<'_>,
        snapshot: &Snapshot,
        known_upto: Option<i64>,
        told: (&Timeline, &State),
    ) -> Result<(), StoreError> {
        match known_upto {
            _ if window.after.is_none() => {}
            None => lists.joined(snapshot),
            Some(after) if hides_members(window.request, &snapshot.room_id) => {
                self.add_members_of(lists, snapshot, after, window.upto)
                    .await?;
            }
            Some(_) => lists.members(snapshot, told.0, told.1),
        }
        Ok(())
    }

    /// The position up to which the client knows the room: that of its token, unless the user has
    /// joined since.
    pub(super) async fn known_upto(
        &self,
        window: &Window<'_>,
        row: &MembershipRow,
    ) -> Result<Option<i64>, StoreError> {
        let Some(after) = window.after else {
            return Ok(None);
        };
        if row.position <= after {
            return Ok(Some(after));
        }
        // The membership changed since: perhaps only the name. Every change since is followed back.
        let event = self.context.store.event(&row.event_id).await?;
        self.known_before(&window.request.user_id, event, after)
            .await
    }

    /// `after`, if the user was joined from there on up to this change of their membership.
    pub(super) async fn known_before(
        &self,
        user: &UserId,
        newest: Option<Arc<Event>>,
        after: i64,
    ) -> Result<Option<i64>, StoreError> {
        let mut event = newest;
        for _ in 0..OWN_CHANGES_MAX {
            let Some(change) = event else { return Ok(None) };
            if membership(&change) != Membership::Join {
                return Ok(None);
            }
            if change.position.is_none_or(|position| position <= after) {
                return Ok(Some(after));
            }
            event = self.context.rooms.member_before(&change, user).await?;
        }
        Ok(None)
    }

    async fn joined_timeline(
        &self,
        window: &Window<'_>,
        snapshot: &Snapshot,
        known_upto: Option<i64>,
    ) -> Result<Timeline, StoreError> {
        let user = &window.request.user_id;
        let section = &window.request.filter.timeline;
        let standing = match known_upto {
            Some(_) => None,
            None => Some(self.context.rooms.standing(&snapshot.room_id, user).await?),
        };
        if !section.allows_room(&snapshot.room_id) {
            return Ok(Timeline::default());
        }
        self.timeline(&TimelineQuery {
            reader: user,
            room: &snapshot.room_id,
            interval: Interval {
                after: known_upto,
                upto: window.upto,
            },
            section,
            ignored: &window.ignored,
            visible_to: standing.as_ref(),
            order_min: snapshot.order_min,
        })
        .await
    }

    async fn joined_state(
        &self,
        window: &Window<'_>,
        snapshot: &Snapshot,
        timeline: &Timeline,
        known_upto: Option<i64>,
        summary: Option<&Summary>,
    ) -> Result<State, StoreError> {
        if !window.request.filter.state.allows_room(&snapshot.room_id) {
            return Ok(State::default());
        }
        let heroes = summary.and_then(|summary| summary.heroes.as_deref());
        self.state(&StateQuery {
            request: window.request,
            device: &window.device,
            snapshot,
            end: &snapshot.state,
            end_order: i64::MAX,
            timeline,
            known_upto,
            heroes: heroes.unwrap_or_default(),
        })
        .await
    }

    /// The receipts to tell of a room.
    async fn receipts(
        &self,
        window: &Window<'_>,
        room: &RoomId,
        timeline: &Timeline,
        known_upto: Option<i64>,
    ) -> Result<Vec<Receipt>, StoreError> {
        if window.is_full() {
            return Ok(window.receipts.get(room).cloned().unwrap_or_default());
        }
        let user = &window.request.user_id;
        if known_upto.is_none() || !timeline.rows.complete || !timeline.rows.all_kinds {
            let after = known_upto.unwrap_or(0);
            let rows = self
                .context
                .store
                .receipts_in(&[room], user, after, window.upto)
                .await?;
            return Ok(rows.iter().map(Receipt::from).collect());
        }
        let mut receipts: Vec<Receipt> = ephemeral::receipts_of(&timeline.rows.rows).collect();
        let private = window.own.receipts.iter();
        let private = private.filter(|(of, _)| ephemeral::is_for(room, of));
        receipts.extend(private.map(|(_, receipt)| receipt.clone()));
        Ok(receipts)
    }

    /// Who types, if that changed since the client's token.
    fn typing(&self, window: &Window<'_>, room: &RoomId) -> Option<Vec<OwnedUserId>> {
        let mut users = self.context.typing.since(room, window.typing_known())?;
        users.retain(|user| !window.ignored.contains(user));
        // Nobody has ever been told that somebody types.
        (window.after.is_some() || !users.is_empty()).then_some(users)
    }

    /// Writes state and timeline, and remembers which members the device is told by them.
    pub(super) async fn write_events(
        &self,
        out: &mut JsonWriter,
        window: &Window<'_>,
        timeline: &Timeline,
        state: &State,
    ) -> Result<(), StoreError> {
        let request = window.request;
        let reader = Reader {
            user_id: &request.user_id,
            device_id: &request.device_id,
        };
        let key = if request.use_state_after {
            "state_after"
        } else {
            "state"
        };
        let rooms = &self.context.rooms;
        let redactions = rooms.redactions_of(&state.events).await?;
        if !state.events.is_empty() || request.use_state_after {
            out.key(key).open().key("events").open_list();
            for (event, extras) in state.events.iter().zip(&redactions) {
                write_event(out.element(), window, event, extras);
            }
            out.close_list().close();
        }
        let mut extras = rooms.extras(reader, &timeline.events).await?;
        let (user, view) = (&request.user_id, view_of(window));
        rooms
            .add_bundles(user, view, &timeline.events, &mut extras)
            .await?;
        out.key("timeline").open().key("events").open_list();
        for (event, extras) in timeline.events.iter().zip(&extras) {
            write_event(out.element(), window, event, extras);
        }
        for event in &timeline.expired {
            write_expiry(out.element(), window, event);
        }
        out.close_list().key("limited").boolean(timeline.limited);
        if let Some(token) = timeline.prev_batch {
            out.key("prev_batch").string(&token.to_string());
        }
        out.close();
        let members = state.events.iter().chain(&timeline.events);
        let members = members.filter(|event| event.pdu.kind == "m.room.member".into());
        self.told
            .tell(&window.device, window.upto, members.map(|event| event.id()));
        Ok(())
    }
}

/// Whether what is asked for does not tell by itself whose membership changed in a room.
fn hides_members(request: &SyncRequest, room: &RoomId) -> bool {
    let filter = &request.filter;
    request.full_state || !filter.state.allows_room(room) || !filter.timeline.allows_room(room)
}

fn membership(event: &Event) -> Membership {
    passeur_protocol::visibility::membership_of(Some(&event.pdu))
}

fn view_of(window: &Window<'_>) -> View {
    View {
        now_ms: window.now_ms,
        with_room: false,
    }
}

/// Tells clients that know nothing of expiry to drop an event.
fn write_expiry(out: &mut JsonWriter, window: &Window<'_>, event: &Event) {
    let deadline = event.deadline.unwrap_or(window.now_ms);
    let Some(fields) = &window.request.filter.fields else {
        return projection::write_expiry_redaction(out, event, deadline);
    };
    let mut redaction = JsonWriter::with_capacity(512);
    projection::write_expiry_redaction(&mut redaction, event, deadline);
    out.raw(&fields.apply(&redaction.into_bytes()));
}

/// Writes an event as the filter wants it.
fn write_event(out: &mut JsonWriter, window: &Window<'_>, event: &Arc<Event>, extras: &Extras) {
    let filter = &window.request.filter;
    let view = view_of(window);
    if filter.federation_format {
        out.raw(&projection::federation_event(event, window.now_ms));
        return;
    }
    match &filter.fields {
        None => projection::write_client_event(out, event, extras, view),
        Some(fields) => {
            out.raw(&fields.apply(&projection::client_event(event, extras, view)));
        }
    }
}

/// Writes `{"events": […]}`, as a value, from events that are JSON already.
pub(super) fn write_list(out: &mut JsonWriter, events: &[Vec<u8>]) {
    out.open().key("events").open_list();
    for event in events {
        out.element().raw(event);
    }
    out.close_list().close();
}

fn write_ephemeral(
    out: &mut JsonWriter,
    filter: &SyncFilter,
    room: &RoomId,
    receipts: &[Receipt],
    typing: Option<&[OwnedUserId]>,
) -> bool {
    let section = &filter.ephemeral;
    let receipts = if section.allows_kind("m.receipt") {
        receipts
    } else {
        &[]
    };
    let typing = typing.filter(|_| section.allows_kind("m.typing"));
    if !section.allows_room(room) || receipts.is_empty() && typing.is_none() {
        return false;
    }
    out.key("ephemeral").open().key("events").open_list();
    if !receipts.is_empty() {
        ephemeral::write_receipts(out.element(), receipts);
    }
    if let Some(users) = typing {
        ephemeral::write_typing(out.element(), users);
    }
    out.close_list().close();
    true
}

fn write_counts(out: &mut JsonWriter, counts: &RoomCounts, by_thread: bool) {
    let write = |out: &mut JsonWriter, counts: &Counts| {
        out.open().key("highlight_count").value(&counts.highlights);
        out.key("notification_count")
            .value(&counts.notifications)
            .close();
    };
    if !by_thread {
        return write(out.key("unread_notifications"), &counts.all);
    }
    let main = counts.threads.get("main").copied().unwrap_or_default();
    write(out.key("unread_notifications"), &main);
    let threads = || {
        counts
            .threads
            .iter()
            .filter(|(thread, _)| *thread != "main")
    };
    if threads().next().is_some() {
        out.key("unread_thread_notifications").open();
        for (thread, counts) in threads() {
            write(out.key(thread), counts);
        }
        out.close();
    }
}
