//! `POST /_matrix/client/v3/search`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3search>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    body::Body as HttpBody,
    extract::{Query, State},
    response::Response,
};
use ruma::{
    OwnedEventId, OwnedRoomId, RoomId, UserId, api::client::search::search_events::v3::GroupingKey,
    events::StateEventType,
};
use serde::Deserialize;

use super::{
    find::{Found, Searched, words_of},
    request::{Body, Context, Criteria, SearchToken},
};
use crate::{
    app::App,
    client::reading::{ReadableRoom, answer},
    http::{
        decode::{BODY_BYTES_MAX, parse_json, raw_json, read_json},
        error::ApiError,
        requester::Requester,
    },
    rooms::json::JsonWriter,
    store::{Direction, Event},
    sync::token::RoomToken,
};

/// Results in one answer if the filter does not say.
const RESULTS_DEFAULT: usize = 10;
/// Results in one answer.
const RESULTS_MAX: usize = 100;
/// Events on each side of a result.
const BESIDE_MAX: u64 = 50;
/// Words of a search.
const WORDS_MAX: usize = 32;

/// What the query may say.
#[derive(Debug, Deserialize)]
pub(crate) struct SearchQuery {
    next_batch: Option<String>,
}

/// Searches the messages, names and topics of the requester's rooms.
pub(crate) async fn search_events_route(
    State(app): State<App>,
    requester: Requester,
    Query(query): Query<SearchQuery>,
    body: HttpBody,
) -> Result<Response, ApiError> {
    let body: Body = parse_json(&read_json(body, BODY_BYTES_MAX).await?)?;
    let token = match &query.next_batch {
        Some(token) => SearchToken::parse(token)?,
        None => SearchToken {
            skip: 0,
            upto: app.sync.now().position,
        },
    };
    let Some(criteria) = body.search_categories.room_events else {
        return Ok(raw_json(r#"{"search_categories":{}}"#));
    };
    let words: BTreeSet<String> = words_of(&criteria.search_term).take(WORDS_MAX).collect();
    let searched = Searched::of(&app, &requester, &criteria).await?;
    let found = match words.is_empty() {
        true => Vec::new(),
        false => searched.find(&criteria, &words, token.upto).await?,
    };
    let results = Results {
        searched,
        criteria,
        words,
        found,
        token,
    };
    results.write().await
}

/// Results about to be told.
struct Results<'a> {
    searched: Searched<'a>,
    criteria: Criteria,
    words: BTreeSet<String>,
    found: Vec<Found>,
    token: SearchToken,
}

impl Results<'_> {
    /// Those of this answer.
    fn page(&self) -> &[Found] {
        let limit = self.criteria.filter.limit;
        let limit = limit.map_or(RESULTS_DEFAULT, |limit| {
            usize::try_from(limit).unwrap_or(RESULTS_MAX)
        });
        let from = self.token.skip.min(self.found.len());
        let to = (from + limit.clamp(1, RESULTS_MAX)).min(self.found.len());
        &self.found[from..to]
    }

    fn next_batch(&self) -> Option<SearchToken> {
        let skip = self.token.skip.saturating_add(self.page().len());
        (skip < self.found.len()).then_some(SearchToken { skip, ..self.token })
    }

    async fn write(&self) -> Result<Response, ApiError> {
        let mut out = JsonWriter::with_capacity(4096);
        out.open().key("search_categories").open();
        out.key("room_events").open();
        out.key("count").value(&self.found.len());
        out.key("highlights").value(&self.words);
        out.key("results").open_list();
        for found in self.page() {
            self.write_result(&mut out, found).await?;
        }
        out.close_list();
        if let Some(token) = self.next_batch() {
            out.key("next_batch").string(&token.to_string());
        }
        self.write_groups(&mut out);
        if self.criteria.include_state {
            self.write_state(&mut out).await?;
        }
        out.close().close().close();
        Ok(answer(out))
    }

    async fn write_result(&self, out: &mut JsonWriter, found: &Found) -> Result<(), ApiError> {
        let Some(room) = self.searched.rooms.get(&found.event.pdu.room_id) else {
            return Ok(());
        };
        out.element().open().key("rank").value(&found.rank);
        out.key("result").raw(&room.json_of(&found.event).await?);
        if let Some(context) = &self.criteria.event_context {
            write_context(out.key("context"), room, &found.event, context).await?;
        }
        out.close();
        Ok(())
    }

    fn write_groups(&self, out: &mut JsonWriter) {
        let by_room = |found: &Found| found.event.pdu.room_id.to_string();
        let by_sender = |found: &Found| found.event.pdu.sender.to_string();
        let mut groups: Vec<(&str, BTreeMap<String, Vec<OwnedEventId>>)> = Vec::new();
        if self.criteria.groups_by(&GroupingKey::RoomId) {
            groups.push(("room_id", grouped(self.page(), by_room)));
        }
        if self.criteria.groups_by(&GroupingKey::Sender) {
            groups.push(("sender", grouped(self.page(), by_sender)));
        }
        if groups.is_empty() {
            return;
        }
        out.key("groups").open();
        for (key, groups) in groups {
            out.key(key).open();
            for (order, (value, results)) in groups.into_iter().enumerate() {
                out.key(&value).open().key("order").value(&order);
                // Groups have no pages of their own, and so no token of their own.
                out.key("results").value(&results).close();
            }
            out.close();
        }
        out.close();
    }

    /// The current state of the rooms in which something was found.
    async fn write_state(&self, out: &mut JsonWriter) -> Result<(), ApiError> {
        let rooms: BTreeSet<&RoomId> = self
            .page()
            .iter()
            .map(|found| &*found.event.pdu.room_id)
            .collect();
        out.key("state").open();
        for id in rooms {
            let Some(room) = self.searched.rooms.get(id) else {
                continue;
            };
            let state = room.state().await?;
            let ids: Vec<OwnedEventId> = state.iter().map(|(_, id)| id.clone()).collect();
            let events = room.app.store.events(&ids).await?;
            room.write(out.key(id.as_str()), &events).await?;
        }
        out.close();
        Ok(())
    }
}

/// The ids of results, by what they are grouped by.
fn grouped(
    page: &[Found],
    value: impl Fn(&Found) -> String,
) -> BTreeMap<String, Vec<OwnedEventId>> {
    let mut groups: BTreeMap<String, Vec<OwnedEventId>> = BTreeMap::new();
    for found in page {
        groups
            .entry(value(found))
            .or_default()
            .push(found.event.id().to_owned());
    }
    groups
}

/// Writes what was said around an event, as a value.
async fn write_context(
    out: &mut JsonWriter,
    room: &ReadableRoom<'_>,
    event: &Arc<Event>,
    context: &Context,
) -> Result<(), ApiError> {
    let order = event.room_order.unwrap_or_default();
    let before = beside(room, order, Direction::Backward, context.before_limit).await?;
    let after = beside(room, order, Direction::Forward, context.after_limit).await?;
    let order_of = |events: &[Arc<Event>]| {
        let last = events.last().and_then(|event| event.room_order);
        last.unwrap_or(order)
    };
    let (start, end) = (
        RoomToken(order_of(&before)),
        RoomToken(order_of(&after) + 1),
    );
    out.open().key("start").string(&start.to_string());
    out.key("end").string(&end.to_string());
    room.write(out.key("events_before"), &before).await?;
    room.write(out.key("events_after"), &after).await?;
    if context.include_profile {
        let mut senders: BTreeSet<&UserId> = BTreeSet::from([&*event.pdu.sender]);
        senders.extend(before.iter().chain(&after).map(|event| &*event.pdu.sender));
        write_profiles(out.key("profile_info"), room, event, &senders).await?;
    }
    out.close();
    Ok(())
}

async fn beside(
    room: &ReadableRoom<'_>,
    order: i64,
    direction: Direction,
    limit: u64,
) -> Result<Vec<Arc<Event>>, ApiError> {
    let limit = limit.min(BESIDE_MAX);
    if limit == 0 {
        return Ok(Vec::new());
    }
    let id: &OwnedRoomId = &room.snapshot.room_id;
    let events = room.app.store.timeline(id, order, direction, limit).await?;
    Ok(room.visible(events).await?)
}

/// Writes how senders appeared in the room at an event, as a value.
async fn write_profiles(
    out: &mut JsonWriter,
    room: &ReadableRoom<'_>,
    at: &Event,
    senders: &BTreeSet<&UserId>,
) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    struct Member {
        displayname: Option<String>,
        avatar_url: Option<String>,
    }
    let store = &room.app.store;
    let state = match at.state_after {
        Some(group) => store.state_at(group).await?,
        None => room.state().await?,
    };
    out.open();
    for sender in senders {
        let place = (StateEventType::RoomMember, sender.to_string());
        let member = match state.get(&place) {
            Some(id) => store.event(id).await?,
            None => None,
        };
        let member = member.map(|event| serde_json::from_str::<Member>(event.pdu.content.get()));
        let Some(Ok(member)) = member else { continue };
        out.key(sender.as_str()).open();
        if let Some(name) = &member.displayname {
            out.key("displayname").string(name);
        }
        if let Some(url) = &member.avatar_url {
            out.key("avatar_url").string(url);
        }
        out.close();
    }
    out.close();
    Ok(())
}
