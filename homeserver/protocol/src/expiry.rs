//! When a message dies: lifetime classes, the room's policy, the stamp of a message, and the deadline that follows.
//!
//! Invariant: a deadline only ever moves earlier. No clock of the sender, no branch of the graph and no later policy can
//! move it later. State events and redactions never expire.
//!
//! No part of the specification; the names are under `org.passeur`. It rests on redaction, which every server knows:
//! <https://spec.matrix.org/v1.19/client-server-api/#redactions>.

use ruma::{OwnedEventId, OwnedRoomId, RoomId, events::TimelineEventType};
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;

use crate::pdu::Pdu;

mod clock;
mod policy;

pub use clock::{ExpiryClock, JUMP_MS_MAX, Reading};
pub use policy::{POLICY_EVENT_TYPE, Policy, PolicyError, RETENTION_EVENT_TYPE};

/// The key in the content of a message that holds its stamp.
pub const STAMP_KEY: &str = "org.passeur.expiry";

/// How long an event whose life a later policy shortened is hidden before it is destroyed, in milliseconds.
///
/// A rogue administrator or a state reset can thus hide history, but has a day in which to be undone.
pub const HOLD_MS: u64 = 24 * 60 * 60 * 1000;

/// A lifetime that a message can have. There are few, so that the lifetime tells little and keys can be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// 30 seconds.
    Seconds30,
    /// 5 minutes.
    Minutes5,
    /// 1 hour.
    Hour1,
    /// 8 hours.
    Hours8,
    /// 1 day.
    Day1,
    /// 7 days.
    Days7,
    /// 28 days.
    Days28,
}

impl Class {
    /// All classes, shortest first.
    pub const ALL: [Self; 7] = [
        Self::Seconds30,
        Self::Minutes5,
        Self::Hour1,
        Self::Hours8,
        Self::Day1,
        Self::Days7,
        Self::Days28,
    ];

    /// The lifetime in milliseconds.
    pub const fn ttl_ms(self) -> u64 {
        const HOUR_MS: u64 = 60 * 60 * 1000;
        match self {
            Self::Seconds30 => 30 * 1000,
            Self::Minutes5 => 5 * 60 * 1000,
            Self::Hour1 => HOUR_MS,
            Self::Hours8 => 8 * HOUR_MS,
            Self::Day1 => 24 * HOUR_MS,
            Self::Days7 => 7 * 24 * HOUR_MS,
            Self::Days28 => 28 * 24 * HOUR_MS,
        }
    }

    /// The longest class that is not longer than `ttl_ms`; below the shortest, the shortest.
    pub fn round_down(ttl_ms: u64) -> Self {
        Self::ALL
            .into_iter()
            .rev()
            .find(|class| class.ttl_ms() <= ttl_ms)
            .unwrap_or(Self::Seconds30)
    }

    /// How far apart the ends of this class's buckets are, in milliseconds: a tenth of the lifetime, at most an hour.
    pub fn bucket_step_ms(self) -> u64 {
        (self.ttl_ms() / 10).min(Self::Hour1.ttl_ms())
    }
}

/// When an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// From this time on, every output is the redacted form. Milliseconds since 1970.
    pub hide_at_ms: u64,
    /// From this time on, the content is to be destroyed. Not before `hide_at_ms`; later by at most [`HOLD_MS`], and only
    /// where a later policy shortened the life of the event.
    pub destroy_at_ms: u64,
    /// The lifetime by which it goes.
    pub class: Class,
}

impl Deadline {
    /// Whether outputs are the redacted form.
    pub fn is_hidden(&self, now_ms: u64) -> bool {
        now_ms >= self.hide_at_ms
    }

    /// Whether the content is to be destroyed, or, of an event that arrives, never to be stored.
    pub fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.destroy_at_ms
    }

    /// The earlier of both in every respect.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self {
            hide_at_ms: self.hide_at_ms.min(other.hide_at_ms),
            destroy_at_ms: self.destroy_at_ms.min(other.destroy_at_ms),
            class: self.class.min(other.class),
        }
    }
}

/// What a server knows of an event when it works out its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What the sender's server says; not to be trusted. Milliseconds.
    pub origin_server_ts_ms: u64,
    /// When this server first received the event (for its own: when it made it). Milliseconds.
    pub first_received_ms: u64,
    /// The stamp of the event, see [`stamp_of`].
    pub stamp: Option<Class>,
}

/// The deadline of an event, or `None` if it lives for ever.
///
/// * `policy_at`: the policy in the state before the event. * `policy_now`: the policy in the current state.
///
/// The life begins at the earlier of the two times, so that a future date cannot extend it beyond receipt, and a past date
/// shortens only the sender's own message. It lasts as long as the stamp says (or, unstamped, the default at the event), at
/// most as long as the policies at the event and now allow. The retroactive bound of the policy now holds for events that
/// were sent under another policy.
pub fn deadline(
    facts: &Facts,
    policy_at: Option<&Policy>,
    policy_now: Option<&Policy>,
) -> Option<Deadline> {
    deadline_held_from(facts, policy_at, policy_now, facts.first_received_ms)
}

/// The deadline after the policy changed at `changed_ms`: the stored one, made earlier where the policy now says so.
///
/// What the new policy shortens is hidden at once, and destroyed after [`HOLD_MS`] or at the stored deadline, whichever is
/// first.
pub fn shorten(
    stored: Option<Deadline>,
    facts: &Facts,
    policy_at: Option<&Policy>,
    policy_now: Option<&Policy>,
    changed_ms: u64,
) -> Option<Deadline> {
    inherit(
        stored,
        deadline_held_from(facts, policy_at, policy_now, changed_ms),
    )
}

/// See [`deadline`]; what a later policy shortened is held until [`HOLD_MS`] after `hold_from_ms`.
fn deadline_held_from(
    facts: &Facts,
    policy_at: Option<&Policy>,
    policy_now: Option<&Policy>,
    hold_from_ms: u64,
) -> Option<Deadline> {
    let begin_ms = facts.origin_server_ts_ms.min(facts.first_received_ms);
    let own = [
        facts.stamp.or(policy_at.map(|policy| policy.default)),
        policy_at.map(|policy| policy.max),
    ];
    let own = own.into_iter().flatten().min();
    let retroactive = policy_now
        .filter(|now| policy_at != Some(*now))
        .and_then(|now| now.retroactive_max);
    let later = [policy_now.map(|policy| policy.max), retroactive]
        .into_iter()
        .flatten()
        .min();

    let class = own.into_iter().chain(later).min()?;
    let hide_at_ms = begin_ms.saturating_add(class.ttl_ms());
    let own_end_ms = own.map_or(u64::MAX, |own| begin_ms.saturating_add(own.ttl_ms()));
    let held_until_ms = hide_at_ms.max(hold_from_ms.saturating_add(HOLD_MS));
    // Where nothing was shortened, the own end is the end of hiding, so this is both.
    Some(Deadline {
        hide_at_ms,
        destroy_at_ms: held_until_ms.min(own_end_ms),
        class,
    })
}

/// The deadline of an edit, a reaction or a poll answer: its own or its target's, whichever is earlier.
pub fn inherit(own: Option<Deadline>, target: Option<Deadline>) -> Option<Deadline> {
    match (own, target) {
        (Some(own), Some(target)) => Some(own.earlier(target)),
        (own, target) => own.or(target),
    }
}

/// Whether an event may expire at all: state never does, nor do redactions, which would lose their target.
pub fn may_expire(pdu: &Pdu) -> bool {
    !pdu.is_state() && pdu.kind != TimelineEventType::RoomRedaction
}

/// The stamp of a message: its `ttl_ms`, rounded down to a class. `None` where there is none, or it is no integer.
pub fn stamp_of(content: &RawJsonValue) -> Option<Class> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(rename = "org.passeur.expiry", borrow, default)]
        stamp: Option<&'a RawJsonValue>,
    }
    #[derive(Deserialize)]
    struct Stamp {
        ttl_ms: i64,
    }
    let content = serde_json::from_str::<Content<'_>>(content.get()).ok()?;
    let stamp = serde_json::from_str::<Stamp>(content.stamp?.get()).ok()?;
    Some(Class::round_down(u64::try_from(stamp.ttl_ms).unwrap_or(0)))
}

/// The lifetime that a to-device message carries beside its ciphertext (`org.passeur.ttl_ms`), if any.
pub fn to_device_ttl_of(content: &RawJsonValue) -> Option<Class> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "org.passeur.ttl_ms")]
        ttl_ms: i64,
    }
    let content = serde_json::from_str::<Content>(content.get()).ok()?;
    Some(Class::round_down(
        u64::try_from(content.ttl_ms).unwrap_or(0),
    ))
}

/// The event whose deadline a message inherits: what it edits, reacts to or answers in a poll. Replies and messages of a
/// thread keep their own. <https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events>
pub fn inherits_from(content: &RawJsonValue) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(rename = "m.relates_to", borrow, default)]
        relation: Option<&'a RawJsonValue>,
    }
    #[derive(Deserialize)]
    struct Relation {
        rel_type: String,
        event_id: OwnedEventId,
    }
    let content = serde_json::from_str::<Content<'_>>(content.get()).ok()?;
    let relation = serde_json::from_str::<Relation>(content.relation?.get()).ok()?;
    matches!(
        relation.rel_type.as_str(),
        "m.replace" | "m.annotation" | "m.reference"
    )
    .then_some(relation.event_id)
}

/// Events that share a shred key, which dies at the end of the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The lifetime of the events.
    pub class: Class,
    /// When the key dies, in milliseconds: at or after the deadline of each event, by less than one step.
    pub ends_at_ms: u64,
}

/// The bucket of an event with this deadline.
pub fn bucket(room_id: &RoomId, deadline: &Deadline) -> Bucket {
    let step_ms = deadline.class.bucket_step_ms();
    let ends_at_ms = deadline
        .destroy_at_ms
        .div_ceil(step_ms)
        .saturating_mul(step_ms);
    Bucket {
        room_id: room_id.to_owned(),
        class: deadline.class,
        ends_at_ms,
    }
}

#[cfg(test)]
mod tests;
