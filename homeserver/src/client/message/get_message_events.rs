//! `GET /_matrix/client/v3/rooms/{roomId}/messages`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages>

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use ruma::api::{Direction as Asked, client::message::get_message_events::v3};
use serde::Deserialize;

use super::related::RelatedFilter;
use crate::{
    app::App,
    client::reading::{ReadableRoom, answer, limit},
    http::{decode::Ruma, error::ApiError, requester::Requester},
    rooms::{json::JsonWriter, stay_of},
    store::{Direction, Event, StoreError},
    sync::{
        filter::{LazyLoad, RoomSection},
        token::RoomToken,
    },
};

/// Events of one page.
const PAGE_MAX: usize = 500;
/// Events that other servers are asked for at once where the history that is held ends.
const BACKFILL_EVENTS: u32 = 100;
/// Events that are looked at for one page if the filter or the history visibility lets few pass.
const SCANNED_MAX: usize = 2000;

/// Absences of which nobody knows more that one page reaches over: each may have cost questions to other servers.
const ABSENCES_MAX: usize = 4;

/// One page of a room's timeline.
struct Page {
    events: Vec<Arc<Event>>,
    /// Where the next page begins; none if there is no more.
    end: Option<RoomToken>,
}

/// Where a page begins and ends, and which way it goes.
struct Stretch {
    from: RoomToken,
    to: Option<RoomToken>,
    direction: Direction,
}

/// What of the query is read beside ruma's type.
#[derive(Debug, Deserialize)]
pub(crate) struct FilterQuery {
    filter: Option<String>,
}

/// What a page is chosen by.
struct Choice {
    section: RoomSection,
    related: RelatedFilter,
}

/// A page of a room's timeline, in either direction.
pub(crate) async fn get_message_events_route(
    State(app): State<App>,
    requester: Requester,
    query: Result<Query<FilterQuery>, QueryRejection>,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let room = ReadableRoom::open(&app, &requester, &request.room_id).await?;
    let filter = query.ok().and_then(|Query(query)| query.filter);
    let choice = Choice {
        section: RoomSection::new(request.filter)?,
        related: RelatedFilter::of(filter.as_deref()),
    };
    let direction = match request.dir {
        Asked::Backward => Direction::Backward,
        Asked::Forward => Direction::Forward,
    };
    let from = match &request.from {
        Some(token) => room.gap(token).await?,
        None if direction == Direction::Backward => RoomToken(room.snapshot.order_max + 1),
        None => RoomToken(room.snapshot.order_min),
    };
    let to = match &request.to {
        Some(token) => Some(room.gap(token).await?),
        None => None,
    };
    let stretch = Stretch {
        from,
        to,
        direction,
    };
    let page = page(&room, &choice, &stretch, limit(request.limit, PAGE_MAX)).await?;
    let mut out = JsonWriter::with_capacity(1024 * page.events.len() + 128);
    // "This will be the same as the value given in `from`."
    let start = request.from.unwrap_or_else(|| from.to_string());
    out.open().key("start").string(&start);
    room.write(out.key("chunk"), &page.events).await?;
    if let Some(end) = page.end {
        out.key("end").string(&end.to_string());
    }
    if choice.section.lazy() != LazyLoad::Off
        && let Some(group) = page.events.first().and_then(|event| event.state_after)
    {
        let state = app.store.state_at(group).await?;
        let senders = room.senders(&state, &page.events).await?;
        room.write_state(out.key("state"), &senders).await?;
    }
    out.close();
    Ok(answer(out))
}

async fn page(
    room: &ReadableRoom<'_>,
    choice: &Choice,
    stretch: &Stretch,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut page = Page {
        events: Vec::with_capacity(limit.min(64)),
        end: Some(stretch.from),
    };
    let (mut scanned, mut crossed) = (0, 0);
    while page.events.len() < limit && scanned < SCANNED_MAX {
        let at = page.end.unwrap_or(stretch.from);
        let Part {
            events,
            is_last,
            fetched,
            goes_on,
        } = read(room, stretch, at, limit).await?;
        scanned += events.len();
        crossed += usize::from(goes_on);
        let Some(last) = events.last().and_then(|event| event.room_order) else {
            page.end = None;
            break;
        };
        let mut seen = room.visible(events).await?;
        seen.retain(|event| choice.section.allows(event));
        let mut seen = choice.related.apply(room, seen).await?;
        let surplus = seen.len() > limit - page.events.len();
        seen.truncate(limit - page.events.len());
        let told = seen.last().and_then(|event| event.room_order);
        page.events.extend(seen);
        page.end = match told.filter(|_| surplus) {
            Some(order) => Some(beyond(order, stretch.direction)),
            None if is_last => None,
            None => Some(beyond(last, stretch.direction)),
        };
        // Other servers are asked once a page: the client asks for more if it wants more.
        if page.end.is_none() || fetched || crossed == ABSENCES_MAX {
            break;
        }
    }
    Ok(page)
}

/// The gap beyond an event, in the direction of reading.
fn beyond(order: i64, direction: Direction) -> RoomToken {
    match direction {
        Direction::Backward => RoomToken(order),
        Direction::Forward => RoomToken(order + 1),
    }
}

/// Events from a gap on.
struct Part {
    events: Vec<Arc<Event>>,
    /// Whether the stretch ends with them.
    is_last: bool,
    /// Whether other servers have just given some of them, and may have more.
    fetched: bool,
    /// Whether they reach over an absence, about which nobody told more.
    goes_on: bool,
}

/// Whether an event is of a stay, or of what lies before it.
fn is_of(stay: i64, event: &Event) -> bool {
    event.room_order.is_some_and(|order| stay_of(order) == stay)
}

/// The first earlier stay that events, newest first, reach into.
fn earlier_stay(stay: i64, events: &[Arc<Event>]) -> Option<i64> {
    let mut stays = events
        .iter()
        .filter_map(|event| event.room_order.map(stay_of));
    stays.find(|of| *of < stay)
}

/// Events from a gap on, and whether the stretch ends with them.
async fn read(
    room: &ReadableRoom<'_>,
    stretch: &Stretch,
    at: RoomToken,
    limit: usize,
) -> Result<Part, StoreError> {
    let (store, id) = (&room.app.store, &room.snapshot.room_id);
    let exclusive = match stretch.direction {
        Direction::Backward => at.0,
        Direction::Forward => at.0 - 1,
    };
    let direction = stretch.direction;
    let mut events = store
        .timeline(id, exclusive, direction, limit as u64)
        .await?;
    let (mut fetched, mut goes_on) = (false, false);
    let stay = stay_of(at.0);
    if direction == Direction::Backward
        && (events.len() < limit || earlier_stay(stay, &events).is_some())
    {
        // Where what is held ends, for good or because of an absence, other servers may know more. One that fails has no more.
        let rooms = &room.app.rooms;
        let more = rooms.backfill_before(id, stay, BACKFILL_EVENTS).await;
        fetched = more.unwrap_or(false);
        if fetched {
            events = store
                .timeline(id, exclusive, direction, limit as u64)
                .await?;
            // There may be still more before the stay.
            if events.first().is_some_and(|event| is_of(stay, event)) {
                events.retain(|event| is_of(stay, event));
            }
        } else if let Some(earlier) = earlier_stay(stay, &events) {
            // Before that one, too, others may know more: they are asked when it is reached.
            events.retain(|event| {
                event
                    .room_order
                    .is_some_and(|order| stay_of(order) >= earlier)
            });
            goes_on = true;
        }
    }
    let mut is_last = events.len() < limit && !fetched && !goes_on;
    if let Some(to) = stretch.to {
        let before = events.len();
        events.retain(|event| {
            event
                .room_order
                .is_some_and(|order| match stretch.direction {
                    Direction::Backward => order >= to.0,
                    Direction::Forward => order < to.0,
                })
        });
        is_last |= events.len() < before;
    }
    Ok(Part {
        events,
        is_last,
        fetched,
        goes_on,
    })
}
