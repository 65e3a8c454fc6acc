//! When messages die, by event: for what changes them, reacts to them or answers them.
//!
//! Invariant: a deadline that is noted only ever moves earlier, and is remembered long enough after it that what refers to a dead
//! message dies with it. As on the server, a reply has a deadline of its own.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{EventId, OwnedEventId, serde::JsonObject};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    changes::{Staged, Table},
    error::CryptoError,
    inbound::{InboundKey, Seen},
    machine::OlmMachine,
};
use crate::expiry::ExpiryClass;

/// So many deadlines are kept; the earliest goes first.
const DEADLINES_MAX: usize = 50_000;

/// How long a deadline is remembered after it has passed, in milliseconds: as long as the longest class.
const REMEMBERED_MS: u64 = ExpiryClass::Days28.as_ms();

/// So many messages may wait to learn what they die with; more are left alone.
const ORPHANS_MAX: usize = 10_000;

/// Messages that arrived before what they die with, by the id of that.
pub(super) type Orphans = BTreeMap<OwnedEventId, BTreeSet<(InboundKey, u32)>>;

/// Relations whose event dies with the one that it refers to.
const INHERITING: [&str; 3] = ["m.replace", "m.annotation", "m.reference"];

/// When a message dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// How long it was to live.
    pub class: ExpiryClass,
    /// When its content must be gone, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl Deadline {
    /// The earlier of both in every respect.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self {
            class: self.class.min(other.class),
            at_ms: self.at_ms.min(other.at_ms),
        }
    }
}

impl OlmMachine {
    /// When a message dies that was received, or sent, and expires.
    pub fn deadline_of(&self, event_id: &EventId) -> Option<Deadline> {
        self.deadlines.get(event_id).copied()
    }

    /// Notes when a message dies that the server has just taken from us.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if the record cannot be serialised.
    pub fn note_deadline(
        &mut self,
        event_id: &EventId,
        deadline: Deadline,
    ) -> Result<Staged<()>, CryptoError> {
        self.save_deadline(event_id, deadline)?;
        Ok(self.stage(()))
    }

    pub(super) fn save_deadline(
        &mut self,
        event_id: &EventId,
        deadline: Deadline,
    ) -> Result<(), CryptoError> {
        let known = self.deadline_of(event_id);
        let deadline = known.map_or(deadline, |known| known.earlier(deadline));
        if known == Some(deadline) {
            return Ok(());
        }
        if known.is_none() && self.deadlines.len() >= DEADLINES_MAX {
            let earliest = self.deadlines.iter().min_by_key(|(_, known)| known.at_ms);
            if let Some(event_id) = earliest.map(|(event_id, _)| event_id.clone()) {
                self.forget_deadline(&event_id);
            }
        }
        self.pending
            .put(Table::Deadline, event_id.as_str(), &deadline)?;
        self.deadlines.insert(event_id.to_owned(), deadline);
        self.inherit_later(event_id, deadline)
    }

    /// Those that arrived before the message whose deadline is known now die with it.
    fn inherit_later(&mut self, event_id: &EventId, deadline: Deadline) -> Result<(), CryptoError> {
        for (key, index) in self.orphans.remove(event_id).unwrap_or_default() {
            let Some(mut seen) = self.replay.get(&(key.clone(), index)).cloned() else {
                continue;
            };
            let own_ms = seen.deadline_ms.unwrap_or(u64::MAX);
            seen.deadline_ms = Some(own_ms.min(deadline.at_ms));
            seen.target = None;
            let orphan = seen.event_id.clone();
            self.save_seen(&key, index, seen)?;
            if let Some(orphan) = orphan {
                self.save_deadline(&orphan, deadline)?;
            }
        }
        Ok(())
    }

    pub(super) fn note_orphan(&mut self, key: &InboundKey, index: u32, seen: &Seen) {
        let Some(target) = &seen.target else { return };
        if self.orphans.contains_key(target) || self.orphans.len() < ORPHANS_MAX {
            let waiting = self.orphans.entry(target.clone()).or_default();
            if waiting.len() < ORPHANS_MAX {
                waiting.insert((key.clone(), index));
            }
        }
    }

    fn forget_deadline(&mut self, event_id: &EventId) {
        self.deadlines.remove(event_id);
        self.pending.delete(Table::Deadline, event_id.as_str());
    }

    /// Forgets deadlines that have been over for so long that nobody refers to their messages any more.
    pub(super) fn forget_old_deadlines(&mut self, now_ms: u64) {
        let is_old = |deadline: &Deadline| deadline.at_ms.saturating_add(REMEMBERED_MS) <= now_ms;
        let old: Vec<OwnedEventId> = self
            .deadlines
            .iter()
            .filter(|(_, deadline)| is_old(deadline))
            .map(|(event_id, _)| event_id.clone())
            .collect();
        for event_id in old {
            self.forget_deadline(&event_id);
        }
    }

    /// The deadline of what these contents, inner and outer, refer to: an edit, a reaction or an answer does not outlive it.
    pub(super) fn inherited(&self, contents: [&JsonObject; 2]) -> Option<Deadline> {
        targets(contents)
            .filter_map(|target| self.deadline_of(target))
            .reduce(Deadline::earlier)
    }

    /// What these contents refer to and would die with, if its deadline is not known.
    pub(super) fn unknown_target(&self, contents: [&JsonObject; 2]) -> Option<OwnedEventId> {
        targets(contents)
            .find(|target| self.deadline_of(target).is_none())
            .map(ToOwned::to_owned)
    }
}

/// What contents refer to so that they die with it.
fn targets(contents: [&JsonObject; 2]) -> impl Iterator<Item = &EventId> {
    contents.into_iter().filter_map(|content| {
        let relation = content.get("m.relates_to")?;
        let kind = relation.get("rel_type").and_then(Value::as_str)?;
        let target = relation.get("event_id").and_then(Value::as_str)?;
        let target = INHERITING.contains(&kind).then_some(target)?;
        <&EventId>::try_from(target).ok()
    })
}
