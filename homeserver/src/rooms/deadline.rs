//! An event's deadline, worked out once, when the event is about to be stored.
//!
//! Invariant: an event that is dead on arrival is stored as a stub, in whatever way it came. A
//! message that was rejected is a stub as well: nobody is ever shown it.
//!
//! No part of the specification.

use std::sync::Arc;

use passeur_protocol::{
    expiry::{self, POLICY_EVENT_TYPE, Policy, RETENTION_EVENT_TYPE},
    pdu::Pdu,
    signed::SignedPdu,
};
use ruma::{EventId, OwnedEventId};

use super::{
    SendError,
    chain::{Chain, bare_event},
};
use crate::store::{Event, EventStatus, NewDeadline, RoomStateMap, StoreError};

/// The events of a state that hold the room's policy: ours, and the one that other servers know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PolicyIds {
    expiry: Option<OwnedEventId>,
    retention: Option<OwnedEventId>,
}

impl PolicyIds {
    /// Those that there are.
    pub(super) fn all(&self) -> Vec<OwnedEventId> {
        let ids = [&self.expiry, &self.retention];
        ids.into_iter().flatten().cloned().collect()
    }

    /// The policy that they say.
    pub(super) fn policy(&self, find: impl Fn(&EventId) -> Option<Arc<Pdu>>) -> Option<Policy> {
        let expiry = self.expiry.as_deref().and_then(&find);
        let retention = self.retention.as_deref().and_then(&find);
        Policy::of_room(
            expiry.as_ref().map(|pdu| &*pdu.content),
            retention.as_ref().map(|pdu| &*pdu.content),
        )
    }
}

/// The events of a state that hold the room's policy.
pub(super) fn policy_ids(state: &RoomStateMap) -> PolicyIds {
    let id = |kind: &str| state.get(&(kind.into(), String::new())).cloned();
    PolicyIds {
        expiry: id(POLICY_EVENT_TYPE),
        retention: id(RETENTION_EVENT_TYPE),
    }
}

impl Chain<'_> {
    /// An event as it is stored: with its deadline, and without its body if that is past.
    pub(super) async fn new_event(
        &self,
        signed: &SignedPdu,
        status: EventStatus,
        state_before: Option<i64>,
        state_after: Option<i64>,
    ) -> Result<Event, SendError> {
        let clock = &*self.context.clock;
        let received_ts = clock.now_ms();
        let pdu = signed.pdu();
        let deadline = self.deadline(pdu, received_ts, state_before).await?;
        let event = Event {
            state_before,
            state_after,
            ..bare_event(signed, self.rules, status, received_ts)?
        };
        // To store a stub is to destroy, so it is the more careful of the two times that decides.
        let now_ms = self.context.store.expiry_time(clock).destroy_now_ms;
        let is_dead = deadline.is_some_and(|deadline| deadline.is_hidden(now_ms));
        let is_refused = status == EventStatus::Rejected && expiry::may_expire(pdu);
        if is_dead || is_refused {
            return Ok(Event {
                deadline: deadline.map(|deadline| to_i64(deadline.hide_at_ms)),
                expiry_class: deadline.map(|deadline| to_i64(deadline.class.ttl_ms())),
                ..event.without_body(&self.version)?
            });
        }
        Ok(Event {
            deadline: deadline.map(|deadline| to_i64(deadline.hide_at_ms)),
            destroy_at: deadline.map(|deadline| to_i64(deadline.destroy_at_ms)),
            expiry_class: deadline.map(|deadline| to_i64(deadline.class.ttl_ms())),
            ..event
        })
    }

    /// The deadline of an event, by the room's policy at the event and now, and what it relates to.
    async fn deadline(
        &self,
        pdu: &Pdu,
        received_ts: i64,
        state_before: Option<i64>,
    ) -> Result<Option<expiry::Deadline>, SendError> {
        if !expiry::may_expire(pdu) {
            return Ok(None);
        }
        let now = self.policy_of(&policy_ids(&self.state)).await?;
        let at = match state_before {
            Some(group) => {
                let before = self.state_of(group).await?;
                self.policy_of(&policy_ids(&before.state)).await?
            }
            None => now.clone(),
        };
        let own = expiry::deadline(&facts_of(pdu, received_ts), at.as_ref(), now.as_ref());
        let Some(target) = expiry::inherits_from(&pdu.content) else {
            return Ok(own);
        };
        let target = self.event(&target).await?;
        let target = target.filter(|target| target.pdu.room_id == pdu.room_id);
        Ok(expiry::inherit(
            own,
            target.and_then(|event| deadline_of(&event)),
        ))
    }

    async fn policy_of(&self, ids: &PolicyIds) -> Result<Option<Policy>, StoreError> {
        let found = self.events(&ids.all()).await?;
        Ok(ids.policy(|id| found.get(id).cloned()))
    }
}

/// What a deadline follows from, beside policies.
pub(super) fn facts_of(pdu: &Pdu, received_ts: i64) -> expiry::Facts {
    expiry::Facts {
        origin_server_ts_ms: pdu.origin_server_ts.get().into(),
        first_received_ms: u64::try_from(received_ts).unwrap_or(0),
        stamp: expiry::stamp_of(&pdu.content),
    }
}

/// The deadline that is stored with an event, also with one whose body is gone.
pub(super) fn deadline_of(event: &Event) -> Option<expiry::Deadline> {
    let hide_at = event.deadline?;
    Some(expiry::Deadline {
        hide_at_ms: u64::try_from(hide_at).ok()?,
        destroy_at_ms: u64::try_from(event.destroy_at.unwrap_or(hide_at)).ok()?,
        class: expiry::Class::round_down(u64::try_from(event.expiry_class?).ok()?),
    })
}

/// A deadline as it is stored.
pub(super) fn stored(event_id: OwnedEventId, deadline: expiry::Deadline) -> NewDeadline {
    NewDeadline {
        event_id,
        deadline: to_i64(deadline.hide_at_ms),
        destroy_at: to_i64(deadline.destroy_at_ms),
        expiry_class: to_i64(deadline.class.ttl_ms()),
    }
}

fn to_i64(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
