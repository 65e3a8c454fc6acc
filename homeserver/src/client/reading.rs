//! What the endpoints that read rooms have in common: who may read, from where, and how events
//! are written.
//!
//! Invariant: whoever holds a [`ReadableRoom`] may read something of the room; what of it, the
//! history visibility decides event by event. A room that does not exist and one that may not be
//! read give the same answer.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>

use std::{collections::BTreeSet, sync::Arc};

use axum::response::Response;
use http::StatusCode;
use passeur_protocol::visibility::visibility_of;
use ruma::{
    EventId, OwnedEventId, RoomId,
    events::{StateEventType, room::history_visibility::HistoryVisibility},
};

use crate::{
    app::App,
    http::{decode::raw_json, error::ApiError, requester::Requester},
    rooms::{
        Reader, Snapshot, Standing,
        json::JsonWriter,
        projection::{self, Extras, View},
    },
    store::{Event, Membership, RoomStateMap, StoreError},
    sync::token::{RoomPoint, RoomToken},
};

/// A room that the requester may read.
pub(crate) struct ReadableRoom<'a> {
    pub(crate) app: &'a App,
    pub(crate) requester: &'a Requester,
    /// The room as last committed.
    pub(crate) snapshot: Arc<Snapshot>,
    /// How the requester stands to it.
    pub(crate) standing: Standing,
}

impl<'a> ReadableRoom<'a> {
    /// A room for reading.
    ///
    /// # Errors
    /// `M_FORBIDDEN` if the requester was never in it, and not everybody may read it.
    pub(crate) async fn open(
        app: &'a App,
        requester: &'a Requester,
        room: &RoomId,
    ) -> Result<Self, ApiError> {
        let forbidden = || ApiError::forbidden("You may not read this room");
        let snapshot = app.rooms.snapshot(room).await?.ok_or_else(forbidden)?;
        let standing = app.rooms.standing(room, &requester.user_id).await?;
        let was_there = standing.membership == Membership::Join || standing.left_at().is_some();
        let room = Self {
            app,
            requester,
            snapshot,
            standing,
        };
        if !was_there && !room.is_world_readable().await? {
            return Err(forbidden());
        }
        Ok(room)
    }

    /// A room for reading one event: whoever may not read the room is told no more than that there is nothing for them.
    ///
    /// # Errors
    /// `M_NOT_FOUND` where [`ReadableRoom::open`] says `M_FORBIDDEN`.
    pub(crate) async fn open_for_event(
        app: &'a App,
        requester: &'a Requester,
        room: &RoomId,
    ) -> Result<Self, ApiError> {
        let opened = Self::open(app, requester, room).await;
        opened.map_err(|error| match error {
            ApiError::Standard { status, .. } if status == StatusCode::FORBIDDEN => {
                ApiError::not_found("There is no such event")
            }
            error => error,
        })
    }

    /// Whether everybody may read the room as it is now.
    pub(crate) async fn is_world_readable(&self) -> Result<bool, StoreError> {
        let kind = StateEventType::RoomHistoryVisibility;
        let visibility = self
            .app
            .rooms
            .state_event(&self.snapshot, &kind, "")
            .await?;
        let visibility = visibility_of(visibility.as_deref().map(|event| &*event.pdu));
        Ok(visibility == HistoryVisibility::WorldReadable)
    }

    /// A room that the requester is joined to.
    ///
    /// # Errors
    /// `M_FORBIDDEN` if they are not.
    pub(crate) async fn joined(
        app: &'a App,
        requester: &'a Requester,
        room: &RoomId,
    ) -> Result<Self, ApiError> {
        let snapshot = app.rooms.snapshot(room).await?;
        let joined = snapshot.filter(|room| room.members.is_joined(&requester.user_id));
        let snapshot = joined.ok_or_else(|| ApiError::forbidden("You are not in this room"))?;
        let standing = app.rooms.standing(room, &requester.user_id).await?;
        Ok(Self {
            app,
            requester,
            snapshot,
            standing,
        })
    }

    /// The state that the requester may read: the current one, or the one in which they left.
    pub(crate) async fn state(&self) -> Result<RoomStateMap, StoreError> {
        match self.standing.left_by().map(|event| event.state_after) {
            Some(Some(group)) => self.app.store.state_at(group).await,
            Some(None) => Ok(RoomStateMap::default()),
            None => Ok(self.snapshot.state.clone()),
        }
    }

    /// The state at a gap of the timeline: the one after the event before it.
    pub(crate) async fn state_before_gap(
        &self,
        gap: RoomToken,
    ) -> Result<RoomStateMap, StoreError> {
        let (room, back) = (&self.snapshot.room_id, crate::store::Direction::Backward);
        let before = self.app.store.timeline(room, gap.0, back, 1).await?;
        match before.first().and_then(|event| event.state_after) {
            Some(group) => self.app.store.state_at(group).await,
            None => Ok(RoomStateMap::default()),
        }
    }

    /// Those of the events that the requester may see.
    pub(crate) async fn visible(
        &self,
        events: Vec<Arc<Event>>,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let user = &self.requester.user_id;
        self.app
            .rooms
            .visible_to(user, &self.standing, events)
            .await
    }

    /// An event of this room that the requester may see.
    ///
    /// # Errors
    /// `M_NOT_FOUND` if there is none.
    pub(crate) async fn event(&self, id: &EventId) -> Result<Arc<Event>, ApiError> {
        let event = self.app.store.event(id).await?;
        let event =
            event.filter(|event| event.pdu.room_id == self.snapshot.room_id && event.is_accepted());
        let seen = self.visible(event.into_iter().collect()).await?;
        seen.into_iter()
            .next()
            .ok_or_else(|| ApiError::not_found("There is no such event"))
    }

    /// The gap of the timeline that a token of either kind stands for.
    ///
    /// # Errors
    /// `M_INVALID_PARAM` if it is not one of ours.
    pub(crate) async fn gap(&self, token: &str) -> Result<RoomToken, ApiError> {
        match token.parse()? {
            RoomPoint::Room(gap) => Ok(gap),
            RoomPoint::Sync(token) => {
                let (room, store) = (&self.snapshot.room_id, &self.app.store);
                let newest = match store.newest_event_at(room, token.position).await? {
                    Some(id) => store.event(&id).await?,
                    None => None,
                };
                let order = newest.and_then(|event| event.room_order);
                Ok(RoomToken(
                    order.map_or(self.snapshot.order_min, |order| order + 1),
                ))
            }
        }
    }

    /// What is told beside events: transactions, what they replaced, what is bundled with them.
    pub(crate) async fn extras(&self, events: &[Arc<Event>]) -> Result<Vec<Extras>, StoreError> {
        let rooms = &self.app.rooms;
        let (user_id, device_id) = (&*self.requester.user_id, &*self.requester.device_id);
        let mut extras = rooms.extras(Reader { user_id, device_id }, events).await?;
        rooms
            .add_bundles(user_id, self.view(), events, &mut extras)
            .await?;
        Ok(extras)
    }

    fn view(&self) -> View {
        View {
            now_ms: self.app.rooms.showing_ms(),
            with_room: true,
        }
    }

    /// One event, as JSON.
    pub(crate) async fn json_of(&self, event: &Arc<Event>) -> Result<Vec<u8>, StoreError> {
        let extras = self.extras(std::slice::from_ref(event)).await?;
        let extras = extras.into_iter().next().unwrap_or_default();
        Ok(projection::client_event(event, &extras, self.view()))
    }

    /// Writes events as a list, as a value.
    pub(crate) async fn write(
        &self,
        out: &mut JsonWriter,
        events: &[Arc<Event>],
    ) -> Result<(), StoreError> {
        let extras = self.extras(events).await?;
        self.write_with(out, events, &extras);
        Ok(())
    }

    /// Writes events as a list, as a value, with what is told beside them.
    pub(crate) fn write_with(
        &self,
        out: &mut JsonWriter,
        events: &[Arc<Event>],
        extras: &[Extras],
    ) {
        let view = self.view();
        out.open_list();
        for (event, extras) in events.iter().zip(extras) {
            projection::write_client_event(out.element(), event, extras, view);
        }
        out.close_list();
    }

    /// Writes state events as a list, as a value: without what each of them replaced.
    pub(crate) async fn write_state(
        &self,
        out: &mut JsonWriter,
        events: &[Arc<Event>],
    ) -> Result<(), StoreError> {
        let (user_id, device_id) = (&*self.requester.user_id, &*self.requester.device_id);
        let reader = Reader { user_id, device_id };
        let extras = self.app.rooms.extras_of_state(reader, events).await?;
        self.write_with(out, events, &extras);
        Ok(())
    }

    /// The members at a state of those who sent the events.
    pub(crate) async fn senders(
        &self,
        state: &RoomStateMap,
        events: &[Arc<Event>],
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let senders: BTreeSet<&str> = events
            .iter()
            .map(|event| event.pdu.sender.as_str())
            .collect();
        let members = senders
            .into_iter()
            .filter_map(|sender| state.get(&(StateEventType::RoomMember, sender.to_owned())));
        let members: Vec<OwnedEventId> = members.cloned().collect();
        self.app.store.events(&members).await
    }
}

/// An answer from what was written.
pub(crate) fn answer(out: JsonWriter) -> Response {
    raw_json(out.into_bytes())
}

/// A limit of a client, as a number of events from 1 to `max`.
pub(crate) fn limit(asked: ruma::UInt, max: usize) -> usize {
    usize::try_from(asked).unwrap_or(max).clamp(1, max)
}
