//! The timeline of a room in an interval of positions: its newest events, and what else the log
//! of the room holds there.
//!
//! Invariant: at most [`SCANS_MAX`] pages are read, whatever the filter; what is left out then
//! shows as `limited`, never as missing. Only events count: however many receipts a room has, and
//! however much expires in it, they take no event's place.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync> (`timeline`)

use std::{collections::HashSet, sync::Arc};

use ruma::{EventId, OwnedEventId, OwnedUserId, RoomId, UserId, events::TimelineEventType};

use super::{Sync, filter::RoomSection, notify::RoomLogRow, token::RoomToken};
use crate::{
    rooms::Standing,
    store::{Event, LogKind, StateKey, StoreError},
};

/// Rows that one read of the log asks for, beside the events wanted.
const ROWS_SPARE: usize = 32;
/// How often more is read because a filter let too little through.
const SCANS_MAX: usize = 6;

/// An interval of a room's log: above `after` (from the beginning if none), up to `upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) after: Option<i64>,
    pub(super) upto: i64,
}

/// Rows of an interval, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<RoomLogRow>,
    /// Whether these are all rows of the interval; otherwise they are its newest.
    pub(super) complete: bool,
    /// Whether receipts and what has expired are among them; otherwise they must be asked for.
    pub(super) all_kinds: bool,
}

impl Rows {
    /// The ids of the events among them.
    pub(super) fn event_ids(&self) -> Vec<OwnedEventId> {
        let events = self.rows.iter().filter(|row| row.kind.is_event());
        events
            .filter_map(|row| OwnedEventId::try_from(&*row.reference).ok())
            .collect()
    }

    /// The places that rows of [`LogKind::ResolvedState`] name.
    pub(super) fn resolved(&self) -> Vec<StateKey> {
        let rows = self.rows.iter();
        let resolved = rows.filter(|row| row.kind == LogKind::ResolvedState);
        let places =
            resolved.filter_map(|row| serde_json::from_str::<Vec<StateKey>>(&row.reference).ok());
        places.flatten().collect()
    }

    fn events(&self) -> usize {
        self.rows.iter().filter(|row| row.kind.is_event()).count()
    }
}

/// What a room's timeline holds in an interval.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// The events to tell, oldest first.
    pub(super) events: Vec<Arc<Event>>,
    /// Events told before, whose content has expired since.
    pub(super) expired: Vec<Arc<Event>>,
    /// Whether the interval has more events than are told.
    pub(super) limited: bool,
    /// Where the timeline goes on backwards.
    pub(super) prev_batch: Option<RoomToken>,
    /// State events of the interval that are not told in the timeline, oldest first.
    pub(super) state_left_out: Vec<Arc<Event>>,
    /// Places of the state that changed without an event.
    pub(super) resolved: Vec<StateKey>,
    /// Whether a member event is among the rows that were read.
    pub(super) members_changed: bool,
    /// The rows that were read.
    pub(super) rows: Rows,
}

impl Timeline {
    /// Whether there is anything to tell of it.
    pub(super) fn has_news(&self) -> bool {
        !self.events.is_empty() || !self.expired.is_empty() || self.limited
    }

    /// Whether the room's name or main alias may have changed.
    pub(super) fn renamed(&self) -> bool {
        let is_name = |kind: &str| ["m.room.name", "m.room.canonical_alias"].contains(&kind);
        let mut events = self.events.iter().chain(&self.state_left_out);
        events.any(|event| event.pdu.is_state() && is_name(&event.pdu.kind.to_string()))
            || self
                .resolved
                .iter()
                .any(|(kind, _)| is_name(&kind.to_string()))
    }

    /// Whether the event is told here.
    pub(super) fn holds(&self, id: &EventId) -> bool {
        self.events.iter().any(|event| event.id() == id)
    }
}

/// What of a timeline is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimelineQuery<'a> {
    /// By whom.
    pub(super) reader: &'a UserId,
    pub(super) room: &'a RoomId,
    pub(super) interval: Interval,
    /// What passes.
    pub(super) section: &'a RoomSection,
    /// Whose messages do not.
    pub(super) ignored: &'a HashSet<OwnedUserId>,
    /// Whose history visibility decides, unless the user was there all along.
    pub(super) visible_to: Option<&'a Standing>,
    /// The room order of the room's oldest event.
    pub(super) order_min: i64,
}

impl TimelineQuery<'_> {
    /// Whether an event is held back for its sender. "Homeservers must still send state events sent
    /// by ignored users to clients."
    fn is_ignored(&self, event: &Event) -> bool {
        !event.pdu.is_state() && self.ignored.contains(&event.pdu.sender)
    }
}

impl Sync {
    /// The newest rows of an interval, with at least `events` events if it has so many.
    pub(super) async fn rows(
        &self,
        room: &RoomId,
        interval: Interval,
        events: usize,
    ) -> Result<Rows, StoreError> {
        let Interval { after, upto } = interval;
        let known = match after {
            Some(after) => self.feeds.room_rows(room, after, upto),
            None => None,
        };
        if let Some(rows) = known {
            return Ok(Rows {
                rows,
                complete: true,
                all_kinds: after.is_some_and(|after| self.feeds.hears_all(room, after)),
            });
        }
        let known = self.feeds.newest_rows(room, upto, events);
        let known = known.filter(|(rows, _)| after.is_none_or(|after| reaches(rows, after)));
        if let Some((rows, complete)) = known {
            return Ok(Rows {
                rows,
                complete,
                all_kinds: false,
            });
        }
        self.read_rows(room, interval, events + ROWS_SPARE).await
    }

    async fn read_rows(
        &self,
        room: &RoomId,
        interval: Interval,
        limit: usize,
    ) -> Result<Rows, StoreError> {
        let after = interval.after.unwrap_or(0);
        let upto = interval.upto;
        let store = &self.context.store;
        let read = store.events_logged(room, after, upto, limit as u64).await?;
        let complete = read.len() < limit;
        let rows: Vec<RoomLogRow> = read.iter().rev().map(RoomLogRow::from).collect();
        let floor = match rows.first() {
            Some(first) if !complete => first.position - 1,
            _ => after,
        };
        self.feeds.learn_rows(room, &rows, floor, upto);
        Ok(Rows {
            rows,
            complete,
            all_kinds: false,
        })
    }

    /// The timeline of an interval.
    pub(super) async fn timeline(&self, query: &TimelineQuery<'_>) -> Result<Timeline, StoreError> {
        let limit = query.section.limit();
        let mut rows = self.rows(query.room, query.interval, limit + 1).await?;
        let mut scans = 1;
        let (all, passing) = loop {
            let all = self.context.store.events(&rows.event_ids()).await?;
            let visible = match query.visible_to {
                Some(standing) => {
                    self.context
                        .rooms
                        .visible_to(query.reader, standing, all.clone())
                        .await?
                }
                None => all.clone(),
            };
            let passing: Vec<Arc<Event>> = visible
                .into_iter()
                .filter(|event| query.section.allows(event) && !query.is_ignored(event))
                .collect();
            if passing.len() > limit || rows.complete || scans == SCANS_MAX {
                break (all, passing);
            }
            scans += 1;
            rows = self.extend(query, rows, limit).await?;
        };
        let expired = self.expired(query, &rows).await?;
        Ok(Timeline {
            expired,
            ..timeline_of(query, rows, &all, passing)
        })
    }

    /// The events of which the client knows, and whose content was destroyed in the interval.
    async fn expired(
        &self,
        query: &TimelineQuery<'_>,
        rows: &Rows,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let Some(after) = query.interval.after else {
            return Ok(Vec::new());
        };
        let ids: Vec<OwnedEventId> = if rows.all_kinds && rows.complete {
            let expired = rows.rows.iter().filter(|row| row.kind == LogKind::Expired);
            let ids = expired.filter_map(|row| OwnedEventId::try_from(&*row.reference).ok());
            ids.collect()
        } else {
            let (room, upto) = (query.room, query.interval.upto);
            self.context.store.expired_logged(room, after, upto).await?
        };
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut events = self.context.store.events(&ids).await?;
        let redaction = TimelineEventType::RoomRedaction.to_string();
        events.retain(|event| {
            event.redacted_by.is_none()
                && event.position.is_some_and(|position| position <= after)
                && query.section.allows_type(&redaction, &event.pdu.sender)
                && !query.ignored.contains(&event.pdu.sender)
        });
        let user = query.reader;
        let standing = self.context.rooms.standing(query.room, user).await?;
        self.context.rooms.visible_to(user, &standing, events).await
    }

    /// Reads further back.
    async fn extend(
        &self,
        query: &TimelineQuery<'_>,
        rows: Rows,
        limit: usize,
    ) -> Result<Rows, StoreError> {
        let Some(first) = rows.rows.first() else {
            return Ok(Rows {
                complete: true,
                ..rows
            });
        };
        let older = Interval {
            upto: first.position - 1,
            ..query.interval
        };
        let more = limit.max(rows.events()) + ROWS_SPARE;
        let mut read = self.read_rows(query.room, older, more).await?;
        read.rows.extend(rows.rows);
        Ok(read)
    }
}

/// Whether rows of the newest events lie all above a position: then they are a part of what came
/// after it, with more before them.
fn reaches(rows: &[RoomLogRow], after: i64) -> bool {
    rows.first().is_some_and(|first| first.position > after)
}

fn timeline_of(
    query: &TimelineQuery<'_>,
    rows: Rows,
    all: &[Arc<Event>],
    mut passing: Vec<Arc<Event>>,
) -> Timeline {
    let limit = query.section.limit();
    let cut = passing.len() > limit;
    let events = passing.split_off(passing.len().saturating_sub(limit));
    let prev_batch = match (events.first(), passing.last()) {
        (Some(first), _) if cut || rows.complete => first.room_order,
        // Nothing was asked for: all that passed lies before.
        (None, Some(newest)) => newest.room_order.map(|order| order + 1),
        // Nothing passed, or too little: history goes on before what was looked at.
        _ => all.first().and_then(|event| event.room_order),
    };
    // What a filter leaves out was not cut off.
    let first_read = all.first().and_then(|event| event.room_order);
    let from_the_start = query.interval.after.is_none();
    let limited = cut
        || !rows.complete
        || (from_the_start && first_read.is_some_and(|order| order > query.order_min));
    let told = |id: &EventId| events.iter().any(|event| event.id() == id);
    let left_out = all
        .iter()
        .filter(|event| event.pdu.is_state() && !told(event.id()));
    let is_member = |event: &&Arc<Event>| event.pdu.kind == TimelineEventType::RoomMember;
    Timeline {
        state_left_out: left_out.cloned().collect(),
        members_changed: all.iter().any(|event| is_member(&event)),
        resolved: rows.resolved(),
        prev_batch: prev_batch.map(RoomToken),
        limited,
        events,
        expired: Vec::new(),
        rows,
    }
}
