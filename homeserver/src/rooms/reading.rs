//! Reading events as a user: who may see which, and what is told beside them.
//!
//! Invariant: every decision about an event looks at the state at that event, never at the current
//! one; states, and the events in them, are read for many events at once.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use passeur_protocol::visibility::{membership_of, user_may_see, visibility_of};
use ruma::{DeviceId, EventId, OwnedEventId, RoomId, UserId, events::StateEventType};

use super::{Rooms, Snapshot, Transaction, projection::Extras};
use crate::store::{Event, Membership, StatePath, StoreError};

/// Changes of a user's own membership that are followed back to when they were last joined.
const OWN_CHANGES_MAX: usize = 32;

/// Who reads.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The user, one of ours.
    pub user_id: &'a UserId,
    /// With which device.
    pub device_id: &'a DeviceId,
}

/// How a user stands to a room's history.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The current membership.
    pub membership: Membership,
    /// The event of the timeline by which a user who is gone left: what came before it, the user
    /// was there for later. Whatever became of them since (a ban, a new invite) takes nothing away.
    left_by: Option<Arc<Event>>,
    /// The room order of the event by which a user who is joined is so: from there on they see
    /// everything.
    joined_at: Option<i64>,
}

impl Standing {
    /// The room order of the event by which a user who is gone left, if they were joined before.
    pub fn left_at(&self) -> Option<i64> {
        self.left_by.as_ref().and_then(|event| event.room_order)
    }

    /// The event by which a user who is gone left, if they were joined before.
    pub fn left_by(&self) -> Option<&Arc<Event>> {
        self.left_by.as_ref()
    }

    /// That of somebody who has nothing to do with the room.
    fn stranger() -> Self {
        Self {
            membership: Membership::Leave,
            left_by: None,
            joined_at: None,
        }
    }

    /// Whether the user joined after an event at which they were not joined.
    fn joined_after(&self, event: &Event) -> bool {
        self.membership == Membership::Join
            || matches!((self.left_at(), event.room_order), (Some(left), Some(order)) if order < left)
    }
}

impl Rooms {
    /// How a user stands to a room's history.
    ///
    /// # Errors
    /// What the database says.
    pub async fn standing(&self, room: &RoomId, user: &UserId) -> Result<Standing, StoreError> {
        let memberships = self.memberships(user).await?;
        // "After this API is called, however, a user will no longer be able to retrieve history for
        // this room": https://spec.matrix.org/v1.19/client-server-api/#leaving-rooms
        let Some(row) = memberships.get(room).filter(|row| !row.forgotten) else {
            return Ok(Standing::stranger());
        };
        let mut standing = Standing {
            membership: row.membership.clone(),
            ..Standing::stranger()
        };
        if row.membership == Membership::Join {
            let joined = self.store().event(&row.event_id).await?;
            standing.joined_at = joined.and_then(|event| event.room_order);
        } else {
            standing.left_by = self.left_by(room, user, &row.event_id).await?;
        }
        Ok(standing)
    }

    /// The event of the timeline by which a user was joined last no longer, if they ever were.
    async fn left_by(
        &self,
        room: &RoomId,
        user: &UserId,
        newest: &EventId,
    ) -> Result<Option<Arc<Event>>, StoreError> {
        let mut event = self.store().event(newest).await?;
        if event
            .as_ref()
            .is_none_or(|event| event.state_before.is_none())
        {
            // An invite of which only the invited server knows: the room, if it was ever held, is
            // as we left it.
            event = match self.snapshot(room).await? {
                Some(snapshot) => {
                    let member = StateEventType::RoomMember;
                    self.state_event(&snapshot, &member, user.as_str()).await?
                }
                None => None,
            };
        }
        for _ in 0..OWN_CHANGES_MAX {
            let Some(change) = event else {
                return Ok(None);
            };
            let before = self.member_before(&change, user).await?;
            if membership_of(before.as_deref().map(|event| &*event.pdu)) == Membership::Join {
                return Ok(Some(change).filter(|change| change.room_order.is_some()));
            }
            event = before;
        }
        Ok(None)
    }

    /// The room order of the event by which a user who is joined came into the room; a new name is
    /// no new stay. What lies at or below `enough` is not looked for.
    ///
    /// # Errors
    /// What the database says.
    pub async fn joined_at(
        &self,
        snapshot: &Snapshot,
        user: &UserId,
        enough: i64,
    ) -> Result<Option<i64>, StoreError> {
        let member = StateEventType::RoomMember;
        let mut event = self.state_event(snapshot, &member, user.as_str()).await?;
        let mut joined = None;
        for _ in 0..OWN_CHANGES_MAX {
            let change = event.filter(|event| membership_of(Some(&event.pdu)) == Membership::Join);
            let Some(change) = change else { break };
            joined = change.room_order;
            if joined.is_none_or(|order| order <= enough) {
                break;
            }
            event = self.member_before(&change, user).await?;
        }
        Ok(joined)
    }

    /// The member event of a user in the state before an event.
    ///
    /// # Errors
    /// What the database says.
    pub async fn member_before(
        &self,
        event: &Event,
        user: &UserId,
    ) -> Result<Option<Arc<Event>>, StoreError> {
        let Some(group) = event.state_before else {
            return Ok(None);
        };
        let place = (StateEventType::RoomMember, user.as_str().to_owned());
        let paths = self.store().state_paths([group]).await?;
        match paths.get(&group).and_then(|state| state.get(&place)) {
            Some(id) => self.store().event(id).await,
            None => Ok(None),
        }
    }

    /// Whether a user may see an event.
    ///
    /// # Errors
    /// What the database says.
    pub async fn may_see(&self, user: &UserId, event: &Arc<Event>) -> Result<bool, StoreError> {
        let standing = self.standing(&event.pdu.room_id, user).await?;
        let seen = self
            .visible_to(user, &standing, vec![Arc::clone(event)])
            .await?;
        Ok(!seen.is_empty())
    }

    /// Those of the events, all of one room, that a user may see, in their order.
    ///
    /// # Errors
    /// What the database says.
    pub async fn visible_to(
        &self,
        user: &UserId,
        standing: &Standing,
        events: Vec<Arc<Event>>,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let was_joined = |event: &Arc<Event>| matches!((standing.joined_at, event.room_order), (Some(joined), Some(order)) if order >= joined);
        if events.iter().all(was_joined) {
            return Ok(events);
        }
        let states = self.states_before(&events).await?;
        let visibility = (StateEventType::RoomHistoryVisibility, String::new());
        let member = (StateEventType::RoomMember, user.as_str().to_owned());
        let places = [&visibility, &member];
        let wanted = states
            .values()
            .flat_map(|state| places.map(|place| state.get(place)));
        let facts = self
            .events_by_id(wanted.flatten().cloned().collect())
            .await?;
        let fact = |event: &Event, place| {
            let state = event.state_before.and_then(|group| states.get(&group))?;
            facts.get(state.get(place)?)
        };
        let sees = |event: &Event| {
            let visibility = visibility_of(fact(event, &visibility).map(|event| &*event.pdu));
            let membership = membership_of(fact(event, &member).map(|event| &*event.pdu));
            // Without a place in the timeline nothing is known of the state: only a user's own
            // membership is told.
            let placed = event.room_order.is_some();
            let joined_after = placed && standing.joined_after(event);
            let own = event.pdu.state_key.as_deref() == Some(user.as_str());
            (placed || own)
                && user_may_see(&event.pdu, user, &visibility, &membership, joined_after)
        };
        Ok(events.into_iter().filter(|event| sees(event)).collect())
    }

    /// What is told to a reader beside each event of a listing of state: not what it replaced,
    /// since that would take one whole state for each event.
    ///
    /// # Errors
    /// What the database says.
    pub async fn extras_of_state(
        &self,
        reader: Reader<'_>,
        events: &[Arc<Event>],
    ) -> Result<Vec<Extras>, StoreError> {
        let mut extras = self.redactions_of(events).await?;
        self.add_transactions(reader, events, &mut extras).await?;
        Ok(extras)
    }

    /// For each of the events the redaction that removed its body, if any.
    ///
    /// # Errors
    /// What the database says.
    pub async fn redactions_of(&self, events: &[Arc<Event>]) -> Result<Vec<Extras>, StoreError> {
        let mut extras = vec![Extras::default(); events.len()];
        let redactions = events.iter().filter_map(|event| event.redacted_by.clone());
        let found = self.events_by_id(redactions.collect()).await?;
        for (event, extras) in events.iter().zip(&mut extras) {
            let redaction = event.redacted_by.as_ref().and_then(|id| found.get(id));
            extras.redaction = redaction.cloned();
        }
        Ok(extras)
    }

    /// What is told to a reader beside each of the events, in their order.
    ///
    /// # Errors
    /// What the database says.
    pub async fn extras(
        &self,
        reader: Reader<'_>,
        events: &[Arc<Event>],
    ) -> Result<Vec<Extras>, StoreError> {
        let mut extras = self.extras_of_state(reader, events).await?;
        self.add_memberships(reader.user_id, events, &mut extras)
            .await?;
        let stateful: Vec<Arc<Event>> = events
            .iter()
            .filter(|event| event.pdu.is_state())
            .cloned()
            .collect();
        let states = self.states_before(&stateful).await?;
        let replaced = |event: &Event| {
            let place = event.pdu.state_place()?;
            let id = states.get(&event.state_before?)?.get(&place)?;
            (*id != event.pdu.event_id).then(|| id.clone())
        };
        let wanted = stateful.iter().filter_map(|event| replaced(event));
        let found = self.events_by_id(wanted.collect()).await?;
        if found.is_empty() {
            return Ok(extras);
        }
        let seen = self
            .visible_predecessors(reader.user_id, found.values())
            .await?;
        for (event, extras) in events.iter().zip(&mut extras) {
            extras.replaced = replaced(event).and_then(|id| found.get(&id).cloned());
            let id = extras.replaced.as_ref().map(|event| event.id());
            extras.replaced_hidden = id.is_some_and(|id| !seen.contains(id));
        }
        Ok(extras)
    }

    /// Those of the replaced events that the user may see: "`prev_content` is only returned if the client has permission to see the
    /// previous event". What came with the state of a join has no place in the timeline, and was told with that state.
    async fn visible_predecessors(
        &self,
        user: &UserId,
        events: impl Iterator<Item = &Arc<Event>>,
    ) -> Result<HashSet<OwnedEventId>, StoreError> {
        let (placed, other): (Vec<_>, Vec<_>) = events
            .cloned()
            .partition(|event| event.room_order.is_some());
        let mut seen: HashSet<OwnedEventId> =
            other.iter().map(|event| event.id().to_owned()).collect();
        if let Some(room) = placed.first().map(|event| event.pdu.room_id.clone()) {
            let standing = self.standing(&room, user).await?;
            let visible = self.visible_to(user, &standing, placed).await?;
            seen.extend(visible.iter().map(|event| event.id().to_owned()));
        }
        Ok(seen)
    }

    /// Adds what the reader's membership was just after each event. "For state events which are the user's own membership, the
    /// membership after the event."
    async fn add_memberships(
        &self,
        user: &UserId,
        events: &[Arc<Event>],
        extras: &mut [Extras],
    ) -> Result<(), StoreError> {
        let Some(room) = events.first().map(|event| &event.pdu.room_id) else {
            return Ok(());
        };
        // From the reader's newest join on nothing has to be looked up.
        let joined_at = self.standing(room, user).await?.joined_at;
        let place = (StateEventType::RoomMember, user.as_str().to_owned());
        for (event, extras) in events.iter().zip(extras) {
            let is_later = |joined: i64| event.room_order.is_some_and(|order| order >= joined);
            if joined_at.is_some_and(is_later) {
                extras.membership = Some("join");
                continue;
            }
            let Some(group) = event.state_after else {
                continue;
            };
            let member = match self.store().state_at(group).await?.get(&place) {
                Some(id) => self.store().event(id).await?,
                None => None,
            };
            extras.membership = Some(name_of(&membership_of(
                member.as_deref().map(|event| &*event.pdu),
            )));
        }
        Ok(())
    }

    async fn add_transactions(
        &self,
        reader: Reader<'_>,
        events: &[Arc<Event>],
        extras: &mut [Extras],
    ) -> Result<(), StoreError> {
        let own = events
            .iter()
            .filter(|event| event.pdu.sender == reader.user_id);
        let own: Vec<&EventId> = own.map(|event| event.id()).collect();
        if own.is_empty() {
            return Ok(());
        }
        let sent = self.store().transactions_of(&own).await?;
        for (event, extras) in events.iter().zip(extras) {
            let transaction = sent.get(event.id());
            let transaction =
                transaction.filter(|sent| sent.device_id == reader.device_id.as_str());
            let id = transaction.and_then(|sent| Transaction::id_in(&sent.key));
            extras.transaction_id = id.map(ToOwned::to_owned);
        }
        Ok(())
    }

    /// The states before these events, by group.
    async fn states_before(
        &self,
        events: &[Arc<Event>],
    ) -> Result<HashMap<i64, StatePath>, StoreError> {
        let groups = events.iter().filter_map(|event| event.state_before);
        self.store().state_paths(groups).await
    }

    async fn events_by_id(
        &self,
        mut ids: Vec<OwnedEventId>,
    ) -> Result<HashMap<OwnedEventId, Arc<Event>>, StoreError> {
        ids.sort_unstable();
        ids.dedup();
        let found = self.store().events(&ids).await?;
        Ok(found
            .into_iter()
            .map(|event| (event.id().to_owned(), event))
            .collect())
    }
}

/// A membership as the specification writes it.
fn name_of(membership: &Membership) -> &'static str {
    match membership {
        Membership::Join => "join",
        Membership::Invite => "invite",
        Membership::Knock => "knock",
        Membership::Ban => "ban",
        _ => "leave",
    }
}
