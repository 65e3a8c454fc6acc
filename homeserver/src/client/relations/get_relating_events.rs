//! `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}[/{relType}[/{eventType}]]`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidrelationseventid>

use std::{collections::HashSet, sync::Arc};

use axum::{extract::State, response::Response};
use ruma::{
    EventId, OwnedEventId, RoomId, UInt,
    api::{
        Direction,
        client::relations::{
            get_relating_events, get_relating_events_with_rel_type,
            get_relating_events_with_rel_type_and_event_type as with_event_type,
        },
    },
};

use crate::{
    app::App,
    client::reading::{ReadableRoom, answer, limit},
    http::{decode::Ruma, error::ApiError, requester::Requester},
    rooms::json::JsonWriter,
    store::{Event, StoreError},
    sync::token::RoomToken,
};

/// Events of one page if the client does not say.
const PAGE_DEFAULT: u32 = 50;
/// Events of one page.
const PAGE_MAX: usize = 500;
/// Relations of one event that are looked at: more have no place in an answer.
const RELATIONS_MAX: u64 = 5000;

/// How far indirect relations are followed.
const DEPTH_MAX: i64 = 3;

/// What is asked for, whichever of the three paths it came by.
struct Query<'a> {
    room: &'a RoomId,
    parent: &'a EventId,
    rel_type: Option<String>,
    kind: Option<String>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    direction: Direction,
    limit: Option<UInt>,
    recurse: bool,
}

/// All events that relate to one.
pub(crate) async fn get_relating_events_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<get_relating_events::v1::Request>,
) -> Result<Response, ApiError> {
    let query = Query {
        room: &request.room_id,
        parent: &request.event_id,
        rel_type: None,
        kind: None,
        from: request.from.as_deref(),
        to: request.to.as_deref(),
        direction: request.dir,
        limit: request.limit,
        recurse: request.recurse,
    };
    relating(&app, &requester, query).await
}

/// Those that relate in one way.
pub(crate) async fn get_relating_events_with_rel_type_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<get_relating_events_with_rel_type::v1::Request>,
) -> Result<Response, ApiError> {
    let query = Query {
        room: &request.room_id,
        parent: &request.event_id,
        rel_type: Some(request.rel_type.to_string()),
        kind: None,
        from: request.from.as_deref(),
        to: request.to.as_deref(),
        direction: request.dir,
        limit: request.limit,
        recurse: request.recurse,
    };
    relating(&app, &requester, query).await
}

/// Those of one type that relate in one way.
pub(crate) async fn get_relating_events_with_event_type_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<with_event_type::v1::Request>,
) -> Result<Response, ApiError> {
    let query = Query {
        room: &request.room_id,
        parent: &request.event_id,
        rel_type: Some(request.rel_type.to_string()),
        kind: Some(request.event_type.to_string()),
        from: request.from.as_deref(),
        to: request.to.as_deref(),
        direction: request.dir,
        limit: request.limit,
        recurse: request.recurse,
    };
    relating(&app, &requester, query).await
}

async fn relating(
    app: &App,
    requester: &Requester,
    query: Query<'_>,
) -> Result<Response, ApiError> {
    let room = ReadableRoom::open_for_event(app, requester, query.room).await?;
    // Whoever may not see the event may not see what relates to it.
    room.event(query.parent).await?;
    let from = match query.from {
        Some(token) => Some(room.gap(token).await?.0),
        None => None,
    };
    let to = match query.to {
        Some(token) => Some(room.gap(token).await?.0),
        None => None,
    };
    let back = query.direction == Direction::Backward;
    let (related, depth) = if query.recurse {
        indirectly_relating(app, query.parent, query.rel_type.as_deref()).await?
    } else {
        let rel_type = query.rel_type.as_deref();
        let read = app.store.relations(query.parent, rel_type, RELATIONS_MAX);
        (read.await?, 1)
    };
    let mut related = room.visible(related).await?;
    let (low, high) = if back { (to, from) } else { (from, to) };
    related.retain(|event| {
        let order = event.room_order;
        event.is_accepted()
            // What redacts an event is no child of it.
            && event.pdu.redacts.as_deref() != Some(query.parent)
            && event.pdu.room_id == query.room
            && query
                .kind
                .as_ref()
                .is_none_or(|kind| event.pdu.kind.to_string() == *kind)
            && low.is_none_or(|low| order.is_some_and(|order| order >= low))
            && high.is_none_or(|high| order.is_some_and(|order| order < high))
    });
    related.sort_by_key(|event| event.room_order);
    if back {
        related.reverse();
    }
    let count = limit(query.limit.unwrap_or(PAGE_DEFAULT.into()), PAGE_MAX);
    let more = related.len() > count;
    related.truncate(count);
    let mut out = JsonWriter::with_capacity(1024 * related.len() + 64);
    room.write(out.open().key("chunk"), &related).await?;
    let last = related.last().and_then(|event| event.room_order);
    if let Some(order) = last.filter(|_| more) {
        let next = RoomToken(if back { order } else { order + 1 });
        out.key("next_batch").string(&next.to_string());
    }
    if let Some(token) = query.from {
        out.key("prev_batch").string(token);
    }
    if query.recurse {
        out.key("recursion_depth").number(depth);
    }
    out.close();
    Ok(answer(out))
}

/// The events that relate to one, to those that relate to it, and so on, [`DEPTH_MAX`] deep; of them those of one way of relating,
/// if one is given. Answers too how deep there was something.
async fn indirectly_relating(
    app: &App,
    parent: &EventId,
    rel_type: Option<&str>,
) -> Result<(Vec<Arc<Event>>, i64), StoreError> {
    let mut depth = 0;
    let mut seen: HashSet<OwnedEventId> = HashSet::from([parent.to_owned()]);
    let mut wanted = Vec::new();
    let mut level = vec![parent.to_owned()];
    for _ in 0..DEPTH_MAX {
        let parents: Vec<&EventId> = level.iter().map(|id| &**id).collect();
        let mut next = Vec::new();
        for row in app.store.all_children_of(&parents).await? {
            if seen.insert(row.child.clone()) {
                if rel_type.is_none_or(|wanted| wanted == row.rel_type) {
                    wanted.push(row.child.clone());
                }
                next.push(row.child);
            }
        }
        depth += i64::from(!next.is_empty());
        if next.is_empty() || seen.len() as u64 > RELATIONS_MAX {
            break;
        }
        level = next;
    }
    Ok((app.store.events(&wanted).await?, depth))
}
