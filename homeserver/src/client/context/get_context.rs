//! `GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid>

use std::sync::Arc;

use axum::{extract::State, response::Response};
use ruma::{api::client::context::get_context::v3, events::StateEventType};

use crate::{
    app::App,
    client::reading::{ReadableRoom, answer},
    http::{decode::Ruma, error::ApiError, requester::Requester},
    rooms::json::JsonWriter,
    store::{Direction, Event},
    sync::{
        filter::{LazyLoad, RoomSection},
        token::RoomToken,
    },
};

/// Events around the one asked for, in all.
const AROUND_MAX: usize = 200;
/// Events that are read at once, at least.
const PAGE_MIN: usize = 20;
/// Events that are looked at on one side if the filter or the history visibility lets few pass.
const SCANNED_MAX: usize = 1000;

/// An event with what came before and after it, and the state around them.
pub(crate) async fn get_context_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let room = ReadableRoom::open(&app, &requester, &request.room_id).await?;
    let section = RoomSection::new(request.filter)?;
    let event = room.event(&request.event_id).await?;
    let order = event
        .room_order
        .ok_or_else(|| ApiError::not_found("There is no such event"))?;
    let around = usize::try_from(request.limit)
        .unwrap_or(AROUND_MAX)
        .min(AROUND_MAX);
    let before = beside(
        &room,
        &section,
        order,
        Direction::Backward,
        around.div_ceil(2),
    )
    .await?;
    let after = beside(&room, &section, order, Direction::Forward, around / 2).await?;
    let start = before
        .last()
        .and_then(|event| event.room_order)
        .unwrap_or(order);
    let end = after
        .last()
        .and_then(|event| event.room_order)
        .unwrap_or(order);
    let mut out = JsonWriter::with_capacity(1024 * (before.len() + after.len() + 8));
    out.open()
        .key("start")
        .string(&RoomToken(start).to_string());
    out.key("end").string(&RoomToken(end + 1).to_string());
    out.key("event").raw(&room.json_of(&event).await?);
    room.write(out.key("events_before"), &before).await?;
    room.write(out.key("events_after"), &after).await?;
    let all: Vec<Arc<Event>> = before
        .iter()
        .chain([&event])
        .chain(&after)
        .cloned()
        .collect();
    let last = after.last().unwrap_or(&event);
    let state = state_around(&room, &section, last, &all).await?;
    room.write_state(out.key("state"), &state).await?;
    out.close();
    Ok(answer(out))
}

/// Up to `limit` events on one side that the reader may see, nearest first.
async fn beside(
    room: &ReadableRoom<'_>,
    section: &RoomSection,
    order: i64,
    direction: Direction,
    limit: usize,
) -> Result<Vec<Arc<Event>>, ApiError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let (id, store) = (&room.snapshot.room_id, &room.app.store);
    let (mut found, mut from, mut scanned) = (Vec::with_capacity(limit), order, 0);
    while found.len() < limit && scanned < SCANNED_MAX {
        let page = limit.max(PAGE_MIN);
        let events = store.timeline(id, from, direction, page as u64).await?;
        scanned += events.len();
        let is_last = events.len() < page;
        from = events
            .last()
            .and_then(|event| event.room_order)
            .unwrap_or(from);
        let seen = room.visible(events).await?;
        found.extend(seen.into_iter().filter(|event| section.allows(event)));
        if is_last {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// The state at the last of the events; members only of those who sent them, if asked so.
async fn state_around(
    room: &ReadableRoom<'_>,
    section: &RoomSection,
    last: &Event,
    events: &[Arc<Event>],
) -> Result<Vec<Arc<Event>>, ApiError> {
    let Some(group) = last.state_after else {
        return Ok(Vec::new());
    };
    let store = &room.app.store;
    let state = store.state_at(group).await?;
    let lazy = section.lazy() != LazyLoad::Off;
    let wanted = state
        .iter()
        .filter(|((kind, _), _)| !lazy || *kind != StateEventType::RoomMember);
    let wanted: Vec<_> = wanted.map(|(_, id)| id.clone()).collect();
    let mut found = store.events(&wanted).await?;
    if lazy {
        found.extend(room.senders(&state, events).await?);
    }
    // The filter "is only applied to `events_before`, `events_after`, and `state`".
    found.retain(|event| section.allows(event));
    Ok(found)
}
