//! What is told of a seed that fails.
//!
//! Invariant: nothing changes by it.

use std::{collections::BTreeSet, sync::Arc};

use ruma::OwnedEventId;

use super::World;

impl World {
    /// An event as each server holds it, and what it rests on, for whoever looks into a seed that fails.
    pub(super) async fn describe(&self, id: &OwnedEventId) -> String {
        let mut lines = vec![self.statuses(id).await];
        let mut pdu = None;
        for node in &self.nodes {
            let held = node.app.store.event(id).await.unwrap();
            pdu = pdu.or_else(|| held.map(|event| Arc::clone(&event.pdu)));
        }
        let Some(pdu) = pdu else {
            return lines.join("\n");
        };
        let (depth, at) = (pdu.depth, pdu.origin_server_ts.get());
        lines.push(format!(
            "    by {} at depth {depth}, {at}: {}",
            pdu.sender, pdu.content
        ));
        for (what, ids) in [
            ("rests on", &pdu.auth_events),
            ("follows", &pdu.prev_events),
        ] {
            for id in ids {
                lines.push(format!("    {what} {}", self.statuses(id).await));
            }
        }
        lines.join("\n")
    }

    /// The first event, by depth, after which two servers hold another state.
    pub(super) async fn parting(&self, events: &BTreeSet<&OwnedEventId>) -> Option<String> {
        let mut by_depth = Vec::new();
        for id in events {
            let event = self.nodes[0].app.store.event(id).await.unwrap();
            by_depth.extend(event.map(|event| (event.pdu.depth, (*id).clone())));
        }
        by_depth.sort();
        for (depth, id) in by_depth {
            let mut states = Vec::new();
            for node in &self.nodes {
                let held = node.app.store.event(&id).await.unwrap();
                for (what, group) in [
                    ("before", held.as_ref().and_then(|event| event.state_before)),
                    ("after", held.as_ref().and_then(|event| event.state_after)),
                ] {
                    let Some(group) = group else { continue };
                    states.push((what, node, node.app.store.state_at(group).await.unwrap()));
                }
            }
            for (what, one, state) in &states {
                for (also, other, its) in &states {
                    if what == also && state != its {
                        let differing = state
                            .iter()
                            .filter(|(place, id)| its.get(*place) != Some(id));
                        let differing: Vec<_> = differing.collect();
                        return Some(format!(
                            "they part {what} {id} at depth {depth}: {} has {differing:?}, unlike {}\n{}",
                            one.name,
                            other.name,
                            self.describe(&id).await
                        ));
                    }
                }
            }
        }
        None
    }

    async fn statuses(&self, id: &OwnedEventId) -> String {
        let mut line = id.to_string();
        for node in &self.nodes {
            match node.app.store.event(id).await.unwrap() {
                Some(event) => {
                    let (kind, key) = (&event.pdu.kind, &event.pdu.state_key);
                    line = format!("{line} {:?} {kind} {key:?};", event.status);
                }
                None => line.push_str(" not held;"),
            }
        }
        line
    }
}
