//! Which events notify a user, and how: by the push rules, with what is needed to judge them read once a room.
//!
//! Invariant: nothing notifies that the user sent, ignores the sender of, or may not read any longer.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#push-rules>

use std::{collections::BTreeMap, sync::Arc};

use ruma::{
    OwnedEventId, OwnedRoomId, UserId,
    push::{Action, Ruleset},
};
use serde_json::{Map, Value};

use super::{Sync, threads::threads_of, unread::RoomFacts};
use crate::{
    rooms::projection,
    store::{Event, LogRow, Membership, Scope, StoreError},
};

/// Rooms that one query of the log asks for.
const ROOMS_PER_QUERY_MAX: usize = 500;

/// An event that notifies.
#[derive(Clone, Debug)]
pub struct Notifying {
    /// The event.
    pub event: Arc<Event>,
    /// What the first rule that applies says.
    pub actions: Vec<Action>,
    /// Whether the user has read so far.
    pub is_read: bool,
}

impl Notifying {
    /// Whether it is to be set off from others.
    pub fn is_highlight(&self) -> bool {
        self.actions.iter().any(Action::is_highlight)
    }

    /// How it is to be shown: the tweaks by name.
    pub fn tweaks(&self) -> Value {
        let mut tweaks = Map::new();
        for action in &self.actions {
            let Ok(Value::Object(action)) = serde_json::to_value(action) else {
                continue;
            };
            if let Some(Value::String(name)) = action.get("set_tweak") {
                let value = action.get("value").cloned().unwrap_or(Value::Bool(true));
                tweaks.insert(name.clone(), value);
            }
        }
        Value::Object(tweaks)
    }
}

impl Sync {
    /// Those of the events that notify a user, in their order.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn notifying(
        &self,
        user: &UserId,
        events: &[Arc<Event>],
    ) -> Result<Vec<Notifying>, StoreError> {
        let store = &self.context.store;
        let rules = store.push_rules(user).await?;
        let ignored = store.ignored_users(user).await?;
        let now_ms = self.context.rooms.showing_ms();
        let mut by_room: BTreeMap<OwnedRoomId, Vec<Arc<Event>>> = BTreeMap::new();
        for event in events {
            let is_told = projection::is_readable(event, now_ms)
                && event.pdu.sender != user
                && !ignored.contains(&event.pdu.sender);
            if is_told {
                let of_room = by_room.entry(event.pdu.room_id.clone()).or_default();
                of_room.push(Arc::clone(event));
            }
        }
        let mut found = Vec::new();
        for (room, events) in by_room {
            found.extend(self.notifying_in(user, &room, &events, &rules).await?);
        }
        let place = |notifying: &Notifying| {
            let id = notifying.event.id();
            events.iter().position(|event| event.id() == id)
        };
        found.sort_by_key(place);
        Ok(found)
    }

    async fn notifying_in(
        &self,
        user: &UserId,
        room: &ruma::RoomId,
        events: &[Arc<Event>],
        rules: &Ruleset,
    ) -> Result<Vec<Notifying>, StoreError> {
        let mut found = Vec::new();
        let snapshot = self.context.rooms.snapshot(room).await?;
        let (facts, read) = match &snapshot {
            Some(snapshot) => (
                RoomFacts::new(self, snapshot, user, events).await?,
                Some(self.read_up_to(user, snapshot).await?),
            ),
            // An invite to a room that this server is not in.
            None => (RoomFacts::default(), None),
        };
        // An invite is told to the one whom it is for, whoever may see the room's history.
        let is_own = |event: &Arc<Event>| event.pdu.state_key.as_deref() == Some(user.as_str());
        let (mut seen, others): (Vec<_>, Vec<_>) = events.iter().cloned().partition(is_own);
        if snapshot.is_some() {
            let rooms = &self.context.rooms;
            let standing = rooms.standing(room, user).await?;
            seen.extend(rooms.visible_to(user, &standing, others).await?);
        }
        let threads = threads_of(&self.context.store, &seen).await?;
        for (event, thread) in seen.iter().zip(&threads) {
            let Some(actions) = facts.actions(rules, event, user) else {
                continue;
            };
            if actions.iter().any(Action::should_notify) {
                found.push(Notifying {
                    event: Arc::clone(event),
                    actions: actions.to_vec(),
                    // What is only read up to where the user came in says nothing of an invite.
                    is_read: !is_own(event)
                        && read
                            .as_ref()
                            .is_some_and(|read| read.covers_event(event, thread)),
                });
            }
        }
        Ok(found)
    }

    /// The newest rows of the log of the rooms that a user is joined to, below a position, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn newest_rows_of(
        &self,
        user: &UserId,
        below: i64,
        limit: u64,
    ) -> Result<Vec<LogRow>, StoreError> {
        let memberships = self.context.rooms.memberships(user).await?;
        let joined = memberships
            .values()
            .filter(|row| row.membership == Membership::Join);
        let scopes: Vec<Scope<'_>> = joined.map(|row| Scope::Room(&row.room_id)).collect();
        let mut rows = Vec::new();
        for some in scopes.chunks(ROOMS_PER_QUERY_MAX) {
            rows.extend(
                self.context
                    .store
                    .newest_events_of(some, below, limit)
                    .await?,
            );
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.position));
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(rows)
    }

    /// The events that a user was notified of, newest first: those below a position, at most `limit`; and where to go on.
    ///
    /// # Errors
    /// What the database says.
    pub async fn notifications(
        &self,
        user: &UserId,
        below: Option<i64>,
        limit: usize,
        highlights_only: bool,
    ) -> Result<(Vec<Notifying>, Option<i64>), StoreError> {
        let mut below = below.unwrap_or_else(|| self.feeds.seen() + 1);
        let mut found: Vec<Notifying> = Vec::new();
        for _ in 0..super::NOTIFICATION_PAGES_MAX {
            let rows = self
                .newest_rows_of(user, below, super::NOTIFICATION_ROWS)
                .await?;
            let Some(last) = rows.last() else {
                return Ok((found, None));
            };
            below = last.position;
            let is_last = (rows.len() as u64) < super::NOTIFICATION_ROWS;
            let ids = rows.iter().filter_map(|row| row.reference.as_deref());
            let ids: Vec<OwnedEventId> = ids.filter_map(|id| id.try_into().ok()).collect();
            let events = self.context.store.events(&ids).await?;
            let mut page = self.notifying(user, &events).await?;
            page.retain(|notifying| !highlights_only || notifying.is_highlight());
            for notifying in page {
                if found.len() == limit {
                    let last = found.last().and_then(|last| last.event.position);
                    return Ok((found, last));
                }
                found.push(notifying);
            }
            if is_last {
                return Ok((found, None));
            }
        }
        Ok((found, Some(below)))
    }
}
