//! The state that an answer tells for a room, beside what its timeline says by itself.
//!
//! Invariant: whoever applies `state` and then the timeline to what they knew has the room's
//! state; with `state_after`, whoever applies that alone. Members that nobody asked for are left
//! out when they are loaded lazily, but never one that changed in a gap.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members>

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use ruma::{
    EventId, OwnedDeviceId, OwnedEventId, OwnedUserId, RoomId, UserId, events::StateEventType,
};

use super::{Sync, SyncRequest, filter::LazyLoad, timeline::Timeline};
use crate::{
    rooms::Snapshot,
    store::{Event, RoomStateMap, StateChange, StateKey, StoreError, difference},
};

/// What of a room's state is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateQuery<'a> {
    pub(super) request: &'a SyncRequest,
    pub(super) device: &'a (OwnedUserId, OwnedDeviceId),
    pub(super) snapshot: &'a Snapshot,
    /// The state at the end of what may be told: the present one, or that in which the user left.
    pub(super) end: &'a RoomStateMap,
    /// The room order from which on the state is none of the user's affair.
    pub(super) end_order: i64,
    pub(super) timeline: &'a Timeline,
    /// The position up to which the client knows the room; none if it knows nothing.
    pub(super) known_upto: Option<i64>,
    /// Users whose members are needed whatever the timeline holds.
    pub(super) heroes: &'a [OwnedUserId],
}

/// State to tell.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The events, in no particular order.
    pub(super) events: Vec<Arc<Event>>,
    /// The users whose membership is among what changed (not those that are only loaded lazily).
    pub(super) members_changed: Vec<OwnedUserId>,
    /// Whether the room's encryption is among what changed.
    pub(super) encryption_changed: bool,
}

impl Sync {
    /// The state to tell for a room.
    pub(super) async fn state(&self, query: &StateQuery<'_>) -> Result<State, StoreError> {
        let base = self.base(query).await?;
        let mut places = match query.known_upto {
            None => {
                let mut places = full(&base, query);
                places.extend(hidden(query).filter(|(place, _)| is_wanted(place, query)));
                places
            }
            Some(known) => self.changes(query, &base, known).await?,
        };
        let members_changed = places
            .keys()
            .filter(|(kind, _)| query.known_upto.is_some() && *kind == StateEventType::RoomMember)
            .filter_map(|(_, user)| OwnedUserId::try_from(user.as_str()).ok())
            .collect();
        let encryption = (StateEventType::RoomEncryption, String::new());
        let encryption_changed = query.known_upto.is_some() && places.contains_key(&encryption);
        self.add_members(query, &base, &mut places);
        let wanted = places
            .into_values()
            .filter(|id| query.request.use_state_after || !query.timeline.holds(id));
        let wanted: Vec<OwnedEventId> = wanted.collect();
        let mut events = self.context.store.events(&wanted).await?;
        let section = &query.request.filter.state;
        events.retain(|event| section.allows(event));
        Ok(State {
            events,
            members_changed,
            encryption_changed,
        })
    }

    /// The state that is told: just before the timeline, or at its end.
    async fn base(&self, query: &StateQuery<'_>) -> Result<RoomStateMap, StoreError> {
        let end = || Ok(query.end.clone());
        if query.request.use_state_after {
            return end();
        }
        match query.timeline.events.first() {
            None => end(),
            // What a user who is gone sees later is about themselves alone.
            Some(first)
                if first
                    .room_order
                    .is_some_and(|order| order > query.end_order) =>
            {
                end()
            }
            Some(first) => match first.state_before {
                None => Ok(RoomStateMap::default()),
                Some(group) if group == query.snapshot.state_group => {
                    Ok(query.snapshot.state.clone())
                }
                Some(group) => self.context.store.state_at(group).await,
            },
        }
    }

    /// What changed since the client's token.
    async fn changes(
        &self,
        query: &StateQuery<'_>,
        base: &RoomStateMap,
        known_upto: i64,
    ) -> Result<HashMap<StateKey, OwnedEventId>, StoreError> {
        let mut places = HashMap::new();
        let timeline = query.timeline;
        if timeline.limited || !timeline.rows.complete {
            let room = &query.snapshot.room_id;
            let known = self.state_known_at(room, known_upto).await?;
            for StateChange(kind, key, id) in difference(&known, base) {
                places.extend(id.map(|id| ((kind, key), id)));
            }
        }
        for event in &timeline.state_left_out {
            let place = event.pdu.state_place();
            // Only what the timeline does not say later by itself, and what still holds.
            let place = place.filter(|place| base.get(place).is_some_and(|id| id == event.id()));
            places.extend(place.map(|place| (place, event.id().to_owned())));
        }
        places.extend(hidden(query));
        for place in &timeline.resolved {
            let standing = query.end.get(place);
            places.extend(standing.map(|id| (place.clone(), id.clone())));
        }
        if query.request.use_state_after {
            let told = timeline
                .events
                .iter()
                .filter_map(|event| event.pdu.state_place());
            for place in told {
                let standing = query.end.get(&place).cloned();
                places.extend(standing.map(|id| (place, id)));
            }
        }
        Ok(places)
    }

    /// The state of a room as a client with such a token knows it.
    pub(super) async fn state_known_at(
        &self,
        room: &RoomId,
        position: i64,
    ) -> Result<RoomStateMap, StoreError> {
        let store = &self.context.store;
        let Some(id) = store.newest_event_at(room, position).await? else {
            return Ok(RoomStateMap::default());
        };
        match store.event(&id).await?.and_then(|event| event.state_after) {
            Some(group) => store.state_at(group).await,
            None => Ok(RoomStateMap::default()),
        }
    }

    /// With lazy loading: the members that the timeline and the summary need, unless the device
    /// was told them.
    fn add_members(
        &self,
        query: &StateQuery<'_>,
        base: &RoomStateMap,
        places: &mut HashMap<StateKey, OwnedEventId>,
    ) {
        let lazy = query.request.filter.state.lazy();
        if lazy == LazyLoad::Off {
            return;
        }
        let senders = query.timeline.events.iter().map(|event| &*event.pdu.sender);
        let mut users: BTreeSet<&UserId> = senders.collect();
        users.extend(query.heroes.iter().map(|user| &**user));
        if query.known_upto.is_none() {
            users.insert(&query.request.user_id);
        }
        let members: Vec<(StateKey, &OwnedEventId)> = users
            .into_iter()
            .map(|user| (StateEventType::RoomMember, user.as_str().to_owned()))
            .filter_map(|place| {
                let id = base.get(&place)?;
                Some((place, id))
            })
            .collect();
        // A client that asks for everything, or for this room for the first time, has nothing.
        let since = match query.known_upto.and(query.request.since) {
            Some(since) if lazy == LazyLoad::On && !query.request.full_state => since.position,
            _ => i64::MIN,
        };
        let ids = members.iter().map(|(_, id)| &***id);
        let news: BTreeSet<&EventId> = self
            .told
            .news(query.device, since, ids)
            .into_iter()
            .collect();
        for (place, id) in &members {
            if news.contains(&***id) {
                places.insert(place.clone(), (*id).clone());
            }
        }
    }
}

/// The whole state, without the members that are loaded lazily.
fn full(base: &RoomStateMap, query: &StateQuery<'_>) -> HashMap<StateKey, OwnedEventId> {
    let wanted = base.iter().filter(|(place, _)| is_wanted(place, query));
    wanted
        .map(|(place, id)| (place.clone(), id.clone()))
        .collect()
}

/// Whether a place of the state is told even if nobody asks for it.
fn is_wanted(place: &StateKey, query: &StateQuery<'_>) -> bool {
    query.request.filter.state.lazy() == LazyLoad::Off || place.0 != StateEventType::RoomMember
}

/// The state that came during the timeline, holds at its end, and is not told by it: a filter hides it there.
fn hidden(query: &StateQuery<'_>) -> impl Iterator<Item = (StateKey, OwnedEventId)> {
    let left_out = query.timeline.state_left_out.iter();
    left_out.filter_map(|event| {
        let place = event.pdu.state_place()?;
        let holds = query.end.get(&place).is_some_and(|id| id == event.id());
        holds.then(|| (place, event.id().to_owned()))
    })
}
