//! Messages that expire, in any weather.
//!
//! Invariant: a message is noted with the latest moment at which its stamp lets any server have its content.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ruma::OwnedEventId;
use serde_json::{Value, json};

use super::World;
use crate::{clock::Clock, rooms::expiry::Purge};

/// Lifetimes of messages.
const CLASSES_MS: [i64; 3] = [30_000, 300_000, 3_600_000];

/// The messages that expire, and what was seen of them.
#[derive(Default)]
pub(super) struct Mortal {
    /// When each is dead at the latest, in ms since the epoch.
    messages: BTreeMap<OwnedEventId, i64>,
    /// The deadline with which a server held one when it was last looked at.
    deadlines: BTreeMap<(usize, OwnedEventId), i64>,
    /// How often one was seen alive.
    alive: usize,
}

impl World {
    /// Somebody says something that says how long it lives.
    pub(in super::super) async fn say_for_a_while(&mut self, actor: usize) {
        let ttl_ms = CLASSES_MS[self.draw(CLASSES_MS.len())];
        let content = json!({
            "body": "for a while", "msgtype": "m.text", "org.passeur.expiry": { "ttl_ms": ttl_ms },
        });
        if let Some(id) = self.send(actor, "m.room.message", None, content).await {
            let dead_ms = self.clock.now_ms() + ttl_ms;
            self.mortal.messages.insert(id, dead_ms);
        }
    }

    /// Somebody changes how long messages live.
    pub(in super::super) async fn set_policy(&mut self, actor: usize) {
        let max_ms = CLASSES_MS[self.draw(CLASSES_MS.len())];
        let mut policy = json!({ "default_ms": CLASSES_MS[0], "max_ms": max_ms });
        if self.draw(2) == 0 {
            policy["retroactive_max_ms"] = CLASSES_MS[self.draw(CLASSES_MS.len())].into();
        }
        self.set_state(actor, "org.passeur.room.expiry", policy)
            .await;
    }

    /// Has each server destroy what is due.
    pub(in super::super) async fn purge(&self) {
        for node in &self.nodes {
            let rooms = Arc::clone(&node.app.rooms);
            let mut purge = Purge::new(rooms, node.drain.clone(), Duration::from_secs(10));
            purge.pass().await.unwrap();
        }
    }

    /// Lets time pass until everything that was stamped is past its deadline.
    pub(in super::super) async fn outlive_all(&self) {
        let last_ms = self.mortal.messages.values().max().copied();
        let left_ms = last_ms.map_or(0, |last_ms| last_ms - self.clock.now_ms());
        let left_ms = u64::try_from(left_ms).unwrap_or(0);
        self.pass(Duration::from_millis(left_ms + 1)).await;
    }

    /// What a server holds of these messages that it may not, if anything: content after the deadline, or a deadline that is later
    /// than the stamp says, or than it was.
    pub(in super::super) async fn undead(&mut self) -> Option<String> {
        let now_ms = self.clock.now_ms();
        for (at, node) in self.nodes.iter().enumerate() {
            for (id, latest_ms) in &self.mortal.messages {
                let Some(event) = node.app.store.event(id).await.unwrap() else {
                    continue;
                };
                let content: Value = serde_json::from_str(event.pdu.content.get()).unwrap();
                let is_whole = content.get("body").is_some();
                self.mortal.alive += usize::from(is_whole);
                let complaint =
                    |what: &str| Some(format!("{}: {id} {what} at {now_ms}", node.name));
                // A stub has nothing to lose; one that came as such does not even say how long it would have lived.
                if !is_whole {
                    continue;
                }
                let Some(deadline) = event.deadline else {
                    return complaint("has content and no deadline");
                };
                let before = self.mortal.deadlines.insert((at, id.clone()), deadline);
                if deadline > *latest_ms || before.is_some_and(|before| before < deadline) {
                    return complaint(&format!("lives until {deadline}, after {before:?}"));
                }
                if event.destroy_at.is_none_or(|end_ms| end_ms <= now_ms) {
                    return complaint("has content after its deadline");
                }
            }
        }
        None
    }

    /// How often content was seen while it lived.
    pub(in super::super) fn seen_alive(&self) -> usize {
        self.mortal.alive
    }
}
