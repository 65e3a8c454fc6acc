//! How much of a room a user has not read: notifications and highlights, by the push rules.
//!
//! Counted when a sync asks, and then kept up: what is remembered is each unread event that
//! notifies, so that a receipt takes away what it covers without counting again.
//!
//! Invariant: a count looks at no more than [`EVENTS_MAX`] of the newest events; what is older
//! counts as read. What is remembered of a room holds for one position and is brought forward, or
//! forgotten.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications>

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use passeur_protocol::push::{self, PushEvent, PushRoom, PushUser};
use quick_cache::{Weighter, sync::Cache};
use ruma::{
    OwnedRoomId, OwnedUserId, UserId,
    events::{
        StateEventType, TimelineEventType,
        room::power_levels::{RoomPowerLevels, RoomPowerLevelsSource},
    },
    push::{Action, PushConditionPowerLevelsCtx, Ruleset},
    state_res::events::RoomCreateEvent,
};
use serde::Deserialize;

use self::marks::{Mark, Marks};
use super::{Sync, threads::threads_of};
use crate::{
    rooms::{Snapshot, projection},
    store::{Direction, Event, StoreError},
};

mod marks;

/// How much memory remembered counts may take, in bytes.
const COUNTS_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// About how many rooms of users that is.
const COUNTS_ESTIMATED: usize = 20_000;
/// What a room of a user takes without unread events, in bytes.
const COUNT_BYTES_BASE: u64 = 300;
/// What an unread event takes, in bytes.
const UNREAD_BYTES: u64 = 60;
/// Events that a count from the beginning looks at.
const EVENTS_MAX: usize = 200;

/// How much is unread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Events that notify.
    pub(super) notifications: u64,
    /// Those of them that highlight.
    pub(super) highlights: u64,
}

/// How much is unread in a room: in all and by thread (`main` is the room itself).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RoomCounts {
    pub(super) all: Counts,
    pub(super) threads: BTreeMap<String, Counts>,
}

/// An unread event that notifies.
#[derive(Clone, Debug)]
struct UnreadEvent {
    order: i64,
    /// Its thread: `main` or the root.
    thread: Box<str>,
    highlight: bool,
}

/// What is remembered of a user's room.
#[derive(Clone, Debug, Default)]
struct Remembered {
    /// The room order up to which events have been looked at.
    order: i64,
    unread: Vec<UnreadEvent>,
}

type Key = (OwnedUserId, OwnedRoomId);

/// Weighs counts by the memory that they take.
#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Key, Arc<Remembered>> for Weight {
    fn weight(&self, _: &Key, remembered: &Arc<Remembered>) -> u64 {
        COUNT_BYTES_BASE + UNREAD_BYTES * remembered.unread.len() as u64
    }
}

/// What is remembered of unread counts.
pub(super) struct Unread {
    rooms: Cache<Key, Arc<Remembered>, Weight>,
    /// What has changed since: what was read from the database before it is not remembered after it.
    marks: Marks,
    /// Users and rooms with a receipt that has not been taken into account.
    read: Mutex<std::collections::HashSet<Key>>,
}

impl std::fmt::Debug for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unread").finish_non_exhaustive()
    }
}

impl Unread {
    pub(super) fn new() -> Self {
        Self {
            rooms: Cache::with_weighter(COUNTS_ESTIMATED, COUNTS_BYTES_MAX, Weight),
            marks: Marks::new(),
            read: Mutex::default(),
        }
    }

    /// A user has read on in a room: what is remembered of it must be looked at again.
    pub(super) fn read(&self, user: &str, room: &str) {
        let (Ok(user), Ok(room)) = (OwnedUserId::try_from(user), OwnedRoomId::try_from(room))
        else {
            return;
        };
        let key = (user, room);
        self.marks.move_place(&key);
        if self.rooms.peek(&key).is_some() {
            self.read
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key);
        }
    }

    /// Takes note that a receipt is taken into account now.
    fn take_read(&self, key: &Key) -> bool {
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key)
    }

    /// Forgets what was counted in rooms: after events in them have expired.
    pub(super) fn forget_rooms(&self, rooms: &std::collections::HashSet<&str>) {
        for room in rooms {
            self.marks.move_room(room);
        }
        self.rooms
            .retain(|(_, room), _| !rooms.contains(room.as_str()));
    }

    /// Forgets a user's room: after a change of their membership.
    pub(super) fn forget_room(&self, user: &str, room: &str) {
        let (Ok(user), Ok(room)) = (OwnedUserId::try_from(user), OwnedRoomId::try_from(room))
        else {
            return;
        };
        let key = (user, room);
        self.marks.move_place(&key);
        self.rooms.remove(&key);
    }

    /// Remembers what was counted from `mark` on, unless something has changed since.
    fn remember(&self, key: Key, counted: Remembered, mark: Mark) {
        let is_current = || self.marks.of(&key) == mark;
        if is_current() {
            self.rooms.insert(key.clone(), Arc::new(counted));
        }
        // A receipt that came before the insertion found nothing here that it could have marked.
        if !is_current() {
            self.rooms.remove(&key);
        }
    }

    /// Forgets a user's rooms: after a change of push rules.
    pub(super) fn forget(&self, user: &str) {
        self.marks.move_user(user);
        self.rooms.retain(|(of, _), _| of != user);
    }
}

/// Up to which room order a user has read, by thread; the empty one covers all.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadUpTo(HashMap<String, i64>);

impl ReadUpTo {
    fn covers(&self, event: &UnreadEvent) -> bool {
        self.covers_place(event.order, &event.thread)
    }

    /// Whether an event of the room, in this thread, is read.
    pub(super) fn covers_event(&self, event: &Event, thread: &str) -> bool {
        let order = event.room_order.unwrap_or(i64::MAX);
        self.covers_place(order, thread)
    }

    fn covers_place(&self, order: i64, thread: &str) -> bool {
        let upto = |thread: &str| self.0.get(thread).copied().unwrap_or(i64::MIN);
        order <= upto("").max(upto(thread))
    }
}

impl Sync {
    /// How much of a room the user has not read, up to its newest event.
    pub(super) async fn unread(
        &self,
        user: &UserId,
        snapshot: &Snapshot,
    ) -> Result<RoomCounts, StoreError> {
        let key = (user.to_owned(), snapshot.room_id.clone());
        let mark = self.unread.marks.of(&key);
        let known = self.unread.rooms.get(&key);
        let read_on = known.is_some() && self.unread.take_read(&key);
        if let Some(known) = &known
            && !read_on
            && known.order >= snapshot.order_max
        {
            return Ok(sum(&known.unread));
        }
        let fresh = known.is_none();
        let upto = if fresh || read_on {
            Some(self.read_up_to(user, snapshot).await?)
        } else {
            None
        };
        let mut counted = known
            .map(|known| Remembered::clone(&known))
            .unwrap_or_default();
        self.count_new(user, snapshot, &mut counted, upto.as_ref(), fresh)
            .await?;
        if let Some(upto) = &upto {
            counted.unread.retain(|event| !upto.covers(event));
        }
        let counts = sum(&counted.unread);
        self.unread.remember(key, counted, mark);
        Ok(counts)
    }

    /// Looks at the events that came since.
    async fn count_new(
        &self,
        user: &UserId,
        snapshot: &Snapshot,
        counted: &mut Remembered,
        read: Option<&ReadUpTo>,
        fresh: bool,
    ) -> Result<(), StoreError> {
        let unthreaded = read.and_then(|read| read.0.get("")).copied();
        let from = if fresh {
            unthreaded.unwrap_or(i64::MIN)
        } else {
            counted.order
        };
        let events = self.newest_events(snapshot, from).await?;
        if events.is_empty() {
            counted.order = snapshot.order_max;
            return Ok(());
        }
        let rules = self.context.store.push_rules(user).await?;
        let ignored = self.context.store.ignored_users(user).await?;
        let room = RoomFacts::new(self, snapshot, user, &events).await?;
        let now_ms = self.context.rooms.showing_ms();
        let threads = threads_of(&self.context.store, &events).await?;
        for (event, thread) in events.iter().zip(threads).rev() {
            let order = event.room_order.unwrap_or(i64::MIN);
            counted.order = counted.order.max(order);
            // "When the user updates their read receipt (either by using the API or by sending an
            // event), notifications prior to and including that event MUST be marked as read."
            if event.pdu.sender == user && is_reading(event) {
                counted.unread.retain(|unread| *unread.thread != *thread);
            }
            if !projection::is_readable(event, now_ms) || ignored.contains(&event.pdu.sender) {
                continue;
            }
            let count = room.count(&rules, event, user);
            if count.notify {
                counted.unread.push(UnreadEvent {
                    order,
                    thread: thread.into(),
                    highlight: count.highlight,
                });
            }
        }
        counted.order = counted.order.max(snapshot.order_max);
        let excess = counted.unread.len().saturating_sub(EVENTS_MAX);
        counted.unread.drain(..excess);
        Ok(())
    }

    /// The newest events above a room order, newest first, at most [`EVENTS_MAX`]: from the rows
    /// that are remembered if they reach so far.
    async fn newest_events(
        &self,
        snapshot: &Snapshot,
        above: i64,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let store = &self.context.store;
        let missing =
            usize::try_from(snapshot.order_max.saturating_sub(above)).unwrap_or(EVENTS_MAX);
        let wanted = missing.min(EVENTS_MAX);
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let rows = self.feeds.newest_rows(&snapshot.room_id, i64::MAX, wanted);
        if let Some((rows, complete)) = rows {
            let rows = super::timeline::Rows {
                rows,
                complete,
                all_kinds: false,
            };
            let mut events = store.events(&rows.event_ids()).await?;
            events.retain(|event| event.room_order.is_some_and(|order| order > above));
            events.reverse();
            return Ok(events);
        }
        let (room, back) = (&snapshot.room_id, Direction::Backward);
        let mut events = store.timeline(room, i64::MAX, back, wanted as u64).await?;
        events.retain(|event| event.room_order.is_some_and(|order| order > above));
        Ok(events)
    }

    /// Up to where a user has read, and at least up to where they joined: an absence is not counted.
    pub(super) async fn read_up_to(
        &self,
        user: &UserId,
        snapshot: &Snapshot,
    ) -> Result<ReadUpTo, StoreError> {
        let receipts = self
            .context
            .store
            .receipts_of(&snapshot.room_id, user)
            .await?;
        let mut upto: HashMap<String, i64> = HashMap::new();
        for receipt in receipts {
            let known = upto.entry(receipt.thread).or_insert(receipt.room_order);
            *known = receipt.room_order.max(*known);
        }
        let read = upto.get("").copied().unwrap_or(i64::MIN);
        let joined = self.context.rooms.joined_at(snapshot, user, read).await?;
        upto.insert(String::new(), read.max(joined.unwrap_or(i64::MIN)));
        Ok(ReadUpTo(upto))
    }
}

fn sum(unread: &[UnreadEvent]) -> RoomCounts {
    let mut counts = RoomCounts::default();
    for event in unread {
        let add = |counts: &mut Counts| {
            counts.notifications += 1;
            counts.highlights += u64::from(event.highlight);
        };
        add(&mut counts.all);
        add(counts.threads.entry(event.thread.to_string()).or_default());
    }
    counts
}

/// Whether an event is a sign that its sender has read what came before: anything but a change of
/// how they appear in the room.
fn is_reading(event: &Event) -> bool {
    event.pdu.kind != TimelineEventType::RoomMember
}

impl Sync {
    /// The power levels of a room, as push rules ask for them.
    async fn push_power_levels(
        &self,
        snapshot: &Snapshot,
    ) -> Result<Option<PushConditionPowerLevelsCtx>, StoreError> {
        let rooms = &self.context.rooms;
        let levels = rooms
            .state_event(snapshot, &StateEventType::RoomPowerLevels, "")
            .await?;
        let create = rooms
            .state_event(snapshot, &StateEventType::RoomCreate, "")
            .await?;
        let rules = &snapshot.rules.authorization;
        let creators = create.map(|create| RoomCreateEvent::new(Arc::clone(&create.pdu)));
        let creators = creators
            .and_then(|create| create.creators(rules).ok())
            .unwrap_or_default();
        let source = match &levels {
            None => RoomPowerLevelsSource::None,
            Some(levels) => match serde_json::from_str(levels.pdu.content.get()) {
                Ok(content) => RoomPowerLevelsSource::Original(content),
                Err(_) => return Ok(None),
            },
        };
        let creators = creators.into_iter().map(|user| user.to_owned());
        let creators: Vec<OwnedUserId> = creators.collect();
        Ok(Some(RoomPowerLevels::new(source, rules, creators).into()))
    }
}

/// What push rules look at beside the event.
#[derive(Default)]
pub(super) struct RoomFacts {
    joined_members: u32,
    display_name: Option<String>,
    power_levels: Option<PushConditionPowerLevelsCtx>,
}

impl RoomFacts {
    /// Looks up what these events can ask for, which for encrypted ones is next to nothing.
    pub(super) async fn new(
        sync: &Sync,
        snapshot: &Snapshot,
        user: &UserId,
        events: &[Arc<Event>],
    ) -> Result<Self, StoreError> {
        let any = |text: &str| {
            let mut contents = events.iter().map(|event| event.pdu.content.get());
            contents.any(|content| content.contains(text))
        };
        let display_name = match any("\"body\"") {
            true => display_name(sync, snapshot, user).await?,
            false => None,
        };
        let power_levels = match any("room") {
            true => sync.push_power_levels(snapshot).await?,
            false => None,
        };
        Ok(Self {
            joined_members: u32::try_from(snapshot.members.joined).unwrap_or(u32::MAX),
            display_name,
            power_levels,
        })
    }

    fn count(&self, rules: &Ruleset, event: &Event, user: &UserId) -> push::Count {
        let (room, user) = self.views(user);
        push::count(rules, &PushEvent::new(&event.pdu), &room, &user)
    }

    /// What the first rule that applies to an event says.
    pub(super) fn actions<'r>(
        &self,
        rules: &'r Ruleset,
        event: &Event,
        user: &UserId,
    ) -> Option<&'r [Action]> {
        let (room, user) = self.views(user);
        push::actions(rules, &PushEvent::new(&event.pdu), &room, &user)
    }

    fn views<'a>(&'a self, user_id: &'a UserId) -> (PushRoom<'a>, PushUser<'a>) {
        let room = PushRoom {
            joined_members: self.joined_members,
            power_levels: self.power_levels.as_ref(),
        };
        let user = PushUser {
            user_id,
            display_name: self.display_name.as_deref(),
        };
        (room, user)
    }
}

/// The name that a user has in a room.
async fn display_name(
    sync: &Sync,
    snapshot: &Snapshot,
    user: &UserId,
) -> Result<Option<String>, StoreError> {
    #[derive(Deserialize)]
    struct Member {
        displayname: Option<String>,
    }
    let Some(member) = snapshot.members.by_user.get(user) else {
        return Ok(None);
    };
    let event = sync.context.store.event(&member.event_id).await?;
    let content = event.map(|event| serde_json::from_str::<Member>(event.pdu.content.get()));
    Ok(content
        .and_then(Result::ok)
        .and_then(|member| member.displayname))
}

#[cfg(test)]
mod tests;
