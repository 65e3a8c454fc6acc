//! Finding events by their words.
//!
//! Invariant: there is no index, which would be a second place from which expired content has to be destroyed: the newest events of
//! the rooms are looked at, [`SCANNED_MAX`] in all. What may not be shown is not found.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-side-search>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::{OwnedRoomId, RoomId, events::StateEventType};
use serde::Deserialize;

use super::request::Criteria;
use crate::{
    app::App,
    client::reading::ReadableRoom,
    http::{error::ApiError, requester::Requester},
    rooms::projection,
    store::{Direction, Event, Membership, MembershipRow, StoreError},
    sync::filter::RoomSection,
};

/// Events that one search looks at, in all rooms together.
const SCANNED_MAX: usize = 20_000;
/// Events that are looked at in a room, as long as there is anything left of the whole.
const SHARE_MIN: usize = 100;
/// Events that one read of a room asks for.
const PAGE: u64 = 500;
/// Rooms before a room that are searched with it.
const PREDECESSORS_MAX: usize = 8;

/// An event that was found.
pub(super) struct Found {
    pub(super) event: Arc<Event>,
    /// How much of its text is what was searched for, from 0 to 1.
    pub(super) rank: f64,
}

/// What a search looks through.
pub(super) struct Searched<'a> {
    pub(super) rooms: BTreeMap<OwnedRoomId, ReadableRoom<'a>>,
}

impl<'a> Searched<'a> {
    /// The rooms that the requester is or was in, those that the filter names alone if it names any; with a room those that it
    /// replaced.
    pub(super) async fn of(
        app: &'a App,
        requester: &'a Requester,
        criteria: &Criteria,
    ) -> Result<Self, ApiError> {
        let memberships = app.rooms.memberships(&requester.user_id).await?;
        let filter = &criteria.filter;
        let mut wanted: BTreeSet<OwnedRoomId> = match &filter.rooms {
            Some(rooms) => rooms.iter().cloned().collect(),
            None => memberships.keys().cloned().collect(),
        };
        if filter.rooms.is_some() {
            let named: Vec<OwnedRoomId> = wanted.iter().cloned().collect();
            for room in named {
                wanted.extend(predecessors(app, &room).await?);
            }
        }
        wanted.retain(|room| {
            memberships.get(room).is_some_and(was_in) && !filter.not_rooms.contains(room)
        });
        let mut rooms = BTreeMap::new();
        for room in wanted {
            // A room that may not be read has nothing to be found.
            if let Ok(readable) = ReadableRoom::open(app, requester, &room).await {
                rooms.insert(room, readable);
            }
        }
        Ok(Self { rooms })
    }

    /// Everything that matches, among the events up to a position, in the order asked for.
    pub(super) async fn find(
        &self,
        criteria: &Criteria,
        words: &BTreeSet<String>,
        upto: i64,
    ) -> Result<Vec<Found>, ApiError> {
        let mut section = criteria.filter.clone();
        (section.rooms, section.not_rooms) = (None, Vec::new());
        let section = RoomSection::new(section)?;
        let mut found = Vec::new();
        let mut budget = SCANNED_MAX;
        for room in self.rooms.values() {
            let share = (SCANNED_MAX / self.rooms.len().max(1)).max(SHARE_MIN);
            let share = share.min(budget);
            let (matched, scanned) = find_in(room, criteria, &section, words, share).await?;
            budget = budget.saturating_sub(scanned);
            found.extend(matched);
        }
        found.retain(|found| found.event.position.is_none_or(|position| position <= upto));
        let newest = |found: &Found| {
            let event = &found.event;
            (event.pdu.origin_server_ts, event.room_order)
        };
        if criteria.is_recent_first() {
            found.sort_by_key(|found| std::cmp::Reverse(newest(found)));
        } else {
            found.sort_by(|a, b| b.rank.total_cmp(&a.rank).then(newest(b).cmp(&newest(a))));
        }
        Ok(found)
    }
}

fn was_in(row: &MembershipRow) -> bool {
    !row.forgotten
        && matches!(
            row.membership,
            Membership::Join | Membership::Leave | Membership::Ban
        )
}

/// The rooms that a room replaced, one after another.
async fn predecessors(app: &App, room: &RoomId) -> Result<Vec<OwnedRoomId>, StoreError> {
    #[derive(Deserialize)]
    struct Create {
        predecessor: Option<Predecessor>,
    }
    #[derive(Deserialize)]
    struct Predecessor {
        room_id: OwnedRoomId,
    }
    let mut found: Vec<OwnedRoomId> = Vec::new();
    let mut at = room.to_owned();
    while found.len() < PREDECESSORS_MAX {
        let Some(snapshot) = app.rooms.snapshot(&at).await? else {
            break;
        };
        let kind = StateEventType::RoomCreate;
        let create = app.rooms.state_event(&snapshot, &kind, "").await?;
        let create =
            create.and_then(|event| serde_json::from_str::<Create>(event.pdu.content.get()).ok());
        let Some(before) = create.and_then(|create| create.predecessor) else {
            break;
        };
        if found.contains(&before.room_id) || before.room_id == room {
            break;
        }
        at = before.room_id.clone();
        found.push(before.room_id);
    }
    Ok(found)
}

/// What matches in one room, newest first, among its newest `budget` events; and how many of those there were.
async fn find_in(
    room: &ReadableRoom<'_>,
    criteria: &Criteria,
    section: &RoomSection,
    words: &BTreeSet<String>,
    budget: usize,
) -> Result<(Vec<Found>, usize), ApiError> {
    let now_ms = room.app.rooms.showing_ms();
    let id = &room.snapshot.room_id;
    let (mut found, mut scanned, mut before) = (Vec::new(), 0, i64::MAX);
    while scanned < budget {
        let back = Direction::Backward;
        let wanted = PAGE.min((budget - scanned) as u64);
        let page = room.app.store.timeline(id, before, back, wanted).await?;
        scanned += page.len();
        let Some(last) = page.last().and_then(|event| event.room_order) else {
            break;
        };
        before = last;
        let mut matching: Vec<(Arc<Event>, f64)> = Vec::new();
        for event in page {
            if projection::is_readable(&event, now_ms)
                && section.allows(&event)
                && let Some(rank) = rank(&event, criteria, words)
            {
                matching.push((event, rank));
            }
        }
        let events: Vec<Arc<Event>> = matching.iter().map(|(event, _)| event.clone()).collect();
        let seen = room.visible(events).await?;
        let seen: BTreeSet<_> = seen.iter().map(|event| event.id()).collect();
        matching.retain(|(event, _)| seen.contains(event.id()));
        found.extend(
            matching
                .into_iter()
                .map(|(event, rank)| Found { event, rank }),
        );
    }
    Ok((found, scanned))
}

/// How well an event matches: none if it lacks one of the words.
fn rank(event: &Event, criteria: &Criteria, words: &BTreeSet<String>) -> Option<f64> {
    #[derive(Deserialize)]
    struct Content {
        body: Option<String>,
        name: Option<String>,
        topic: Option<String>,
    }
    let kind = event.pdu.kind.to_string();
    let key = match kind.as_str() {
        "m.room.message" => "content.body",
        "m.room.name" => "content.name",
        "m.room.topic" => "content.topic",
        _ => return None,
    };
    if !criteria.searches(key) {
        return None;
    }
    let content: Content = serde_json::from_str(event.pdu.content.get()).ok()?;
    let text = match key {
        "content.body" => content.body,
        "content.name" => content.name,
        _ => content.topic,
    }?;
    let of_text: Vec<String> = words_of(&text).collect();
    if !words.iter().all(|word| of_text.contains(word)) {
        return None;
    }
    let hits = of_text.iter().filter(|word| words.contains(*word)).count();
    let share = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    Some(share(hits) / share(of_text.len().max(1)))
}

/// The words of a text, in lower case.
pub(super) fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}
