//! Encrypted events whose keys have not arrived yet.
//!
//! Invariant: memory and the store's inbox hold the same events, each once; one leaves both when its key arrives, when it is too old for
//! any key to come, or when its sender has had too many others wait. So nobody's events keep another's from waiting.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    client::{Client, ClientError, Event},
    crypto::SecretBytes,
    expiry::{EXPIRY_FIELD, ExpiryClass},
    store::InboxItem,
};

/// The most events that wait for their keys.
const EVENTS_MAX: usize = 5000;

/// The most events of one sender in one room that wait.
const EVENTS_PER_SENDER_MAX: usize = 500;

/// How long an event waits at most, in milliseconds: a week. One that expires sooner waits no longer than it lives.
const WAITING_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// An event that waits for its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WaitingEvent {
    /// Its place in the inbox.
    #[serde(skip)]
    pub(crate) id: i64,
    /// The room.
    pub(crate) room_id: OwnedRoomId,
    /// Its ID.
    pub(crate) event_id: OwnedEventId,
    /// Who the server says sent it.
    pub(crate) sender: OwnedUserId,
    /// Until when it waits, in milliseconds since the Unix epoch.
    pub(crate) until_ms: u64,
    /// The session whose key is missing.
    pub(crate) session_id: String,
    /// The event as it came; still encrypted.
    pub(crate) event: Box<RawValue>,
}

impl WaitingEvent {
    pub(crate) fn encode(&self) -> Option<InboxItem> {
        let body = serde_json::to_vec(self).ok()?;
        Some(InboxItem {
            id: self.id,
            body: SecretBytes::new(body),
        })
    }

    fn decode(item: &InboxItem) -> Option<Self> {
        let mut event: Self = serde_json::from_slice(item.body.expose()).ok()?;
        event.id = item.id;
        Some(event)
    }
}

impl WaitingEvent {
    /// An event whose key has not arrived, as it came; it is given its place when it is admitted.
    pub(crate) fn new(event: &Event, session_id: String, raw: Box<RawValue>, now_ms: u64) -> Self {
        let stamp = event.content.get(EXPIRY_FIELD);
        let lifetime = stamp.and_then(|stamp| stamp.get("ttl_ms")?.as_u64());
        let lifetime_ms = lifetime.map_or(WAITING_MS_MAX, |ms| ExpiryClass::from_ms(ms).as_ms());
        Self {
            id: 0,
            room_id: event.room_id.clone(),
            event_id: event.event_id.clone(),
            sender: event.sender.clone(),
            until_ms: now_ms.saturating_add(lifetime_ms.min(WAITING_MS_MAX)),
            session_id,
            event: raw,
        }
    }
}

impl WaitingEvent {
    fn author(&self) -> (&RoomId, &UserId) {
        (&self.room_id, &self.sender)
    }
}

/// Decides which events wait after a sync.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    before: &'a BTreeMap<i64, WaitingEvent>,
    newly: BTreeMap<i64, WaitingEvent>,
    no_longer: BTreeSet<i64>,
    next_id: i64,
}

impl<'a> Admission<'a> {
    /// Begins with the events that wait; those in `no_longer`, and those whose time is over, leave.
    pub(crate) fn new(
        before: &'a BTreeMap<i64, WaitingEvent>,
        no_longer: Vec<i64>,
        now_ms: u64,
    ) -> Self {
        let old = before.values().filter(|event| event.until_ms <= now_ms);
        Self {
            before,
            newly: BTreeMap::new(),
            no_longer: old.map(|event| event.id).chain(no_longer).collect(),
            next_id: before.keys().next_back().map_or(1, |last| last + 1),
        }
    }

    /// Oldest first.
    fn waiting(&self) -> impl Iterator<Item = &WaitingEvent> {
        let before = self.before.values();
        let before = before.filter(|event| !self.no_longer.contains(&event.id));
        before.chain(self.newly.values())
    }

    /// Has an event wait, unless it does already, in place of an older one if there are too many.
    pub(crate) fn add(&mut self, mut event: WaitingEvent) {
        let same = |known: &WaitingEvent| {
            known.event_id == event.event_id && known.room_id == event.room_id
        };
        if self.waiting().any(same) {
            return;
        }
        let own = (&*event.room_id, &*event.sender);
        let of_own = self.waiting().filter(|known| known.author() == own);
        let crowd = if of_own.count() >= EVENTS_PER_SENDER_MAX {
            Some(own)
        } else if self.waiting().count() >= EVENTS_MAX {
            self.largest_crowd()
        } else {
            None
        };
        let oldest = crowd.and_then(|author| {
            let oldest = self.waiting().find(|known| known.author() == author);
            oldest.map(|known| known.id)
        });
        if let Some(oldest) = oldest
            && self.newly.remove(&oldest).is_none()
        {
            self.no_longer.insert(oldest);
        }
        event.id = self.next_id;
        self.next_id += 1;
        self.newly.insert(event.id, event);
    }

    /// Whose events in which room are the most.
    fn largest_crowd(&self) -> Option<(&RoomId, &UserId)> {
        let mut counts: BTreeMap<_, usize> = BTreeMap::new();
        for known in self.waiting() {
            *counts.entry(known.author()).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(author, _)| author)
    }

    /// The events that came to wait, and the places of those that wait no more.
    pub(crate) fn finish(self) -> (Vec<WaitingEvent>, Vec<i64>) {
        let newly = self.newly.into_values().collect();
        (newly, self.no_longer.into_iter().collect())
    }
}

/// The events that wait, by their place.
#[derive(Debug, Default)]
pub(crate) struct WaitingEvents(Mutex<BTreeMap<i64, WaitingEvent>>);

impl WaitingEvents {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, WaitingEvent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Takes up what the store holds.
    pub(crate) async fn load_waiting(&self) -> Result<(), ClientError> {
        let items = self.inner.store.inbox().await?;
        let events = items.iter().filter_map(WaitingEvent::decode);
        *self.inner.waiting.lock() = events.map(|event| (event.id, event)).collect();
        Ok(())
    }

    pub(crate) fn waiting_events(&self) -> BTreeMap<i64, WaitingEvent> {
        self.inner.waiting.lock().clone()
    }

    pub(crate) fn set_waiting(&self, (newly, no_longer): (Vec<WaitingEvent>, Vec<i64>)) {
        let mut waiting = self.inner.waiting.lock();
        for id in no_longer {
            waiting.remove(&id);
        }
        waiting.extend(newly.into_iter().map(|event| (event.id, event)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_000_000;

    fn event(number: u32, room: &str, sender: &str) -> WaitingEvent {
        WaitingEvent {
            id: 0,
            room_id: RoomId::parse(room).unwrap(),
            event_id: format!("${room}{number}").try_into().unwrap(),
            sender: UserId::parse(sender).unwrap(),
            until_ms: NOW_MS + 1,
            session_id: "s".to_owned(),
            event: RawValue::from_string("{}".to_owned()).unwrap(),
        }
    }

    /// What waits after these came.
    fn admit(
        before: &BTreeMap<i64, WaitingEvent>,
        events: impl IntoIterator<Item = WaitingEvent>,
        now_ms: u64,
    ) -> BTreeMap<i64, WaitingEvent> {
        let mut admission = Admission::new(before, Vec::new(), now_ms);
        events.into_iter().for_each(|event| admission.add(event));
        let (newly, no_longer) = admission.finish();
        let mut after = before.clone();
        after.retain(|id, _| !no_longer.contains(id));
        after.extend(newly.into_iter().map(|event| (event.id, event)));
        after
    }

    #[test]
    fn an_event_waits_once_however_often_it_comes() {
        let again = || [event(1, "!a:one", "@m:two"), event(1, "!a:one", "@m:two")];
        let first = admit(&BTreeMap::new(), again(), NOW_MS);
        assert_eq!(first.len(), 1);
        assert_eq!(admit(&first, again(), NOW_MS).len(), 1);
    }

    #[test]
    fn events_leave_when_their_time_is_over() {
        let first = admit(&BTreeMap::new(), [event(1, "!a:one", "@m:two")], NOW_MS);
        assert_eq!(admit(&first, [], NOW_MS).len(), 1);
        assert!(admit(&first, [], NOW_MS + 1).is_empty());
    }

    #[test]
    fn a_flood_crowds_out_itself_alone() {
        let honest = event(0, "!a:one", "@bob:two");
        let flood = |room: &'static str, number: usize| {
            (0..u32::try_from(number).unwrap()).map(move |n| event(n, room, "@m:two"))
        };
        let per_sender = EVENTS_PER_SENDER_MAX;
        let first = admit(&BTreeMap::new(), [honest], NOW_MS);
        let after = admit(&first, flood("!a:one", per_sender + 10), NOW_MS);
        assert_eq!(after.len(), 1 + per_sender);
        assert_eq!(after[&1].sender, "@bob:two");
        let newest = after.values().next_back().unwrap();
        assert_eq!(newest.event_id, format!("$!a:one{}", per_sender + 9));
        // From many rooms at once: whoever has most waiting makes room.
        let rooms = [
            "!b:one", "!c:one", "!d:one", "!e:one", "!f:one", "!g:one", "!h:one", "!i:one",
            "!j:one",
        ];
        let mut all = after;
        for room in rooms {
            all = admit(&all, flood(room, per_sender), NOW_MS);
        }
        assert_eq!(all.len(), EVENTS_MAX);
        let late = [
            event(1, "!z:one", "@bob:two"),
            event(2, "!z:one", "@bob:two"),
        ];
        let all = admit(&all, late, NOW_MS);
        assert_eq!(all.len(), EVENTS_MAX);
        let of_bob = all.values().filter(|event| event.sender == "@bob:two");
        assert_eq!(of_bob.count(), 3);
    }
}
