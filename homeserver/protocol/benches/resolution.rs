//! State resolution of two states of 10,000 entries that differ in 50, as after a short partition of a large room.
//!
//! Run by `cargo bench --package passeur-protocol`. It prints how long a resolution takes; nothing is asserted about time.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark measures time, prints it, and ends where something is wrong"
)]

use std::{collections::HashMap, sync::Arc, time::Instant};

use passeur_protocol::{
    build::{EventTemplate, Tip, auth_types, build},
    pdu::Pdu,
    resolve::{StateMap, resolve_states},
};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, UInt, events::StateEventType,
    room_version_rules::RoomVersionRules, server_name, signatures::Ed25519KeyPair,
};
use serde_json::{Value, json};

/// Entries of each state.
const ENTRIES: usize = 10_000;
/// Entries in which they differ.
const CONFLICTS: usize = 50;
/// How often it is measured; the median is told.
const ROUNDS: usize = 11;

/// A room that grows event by event.
struct Room {
    room_id: OwnedRoomId,
    key_pair: Ed25519KeyPair,
    events: HashMap<OwnedEventId, Arc<Pdu>>,
    tip: Vec<OwnedEventId>,
    depth: u64,
}

impl Room {
    fn new() -> Self {
        let key = Ed25519KeyPair::generate();
        Self {
            room_id: "!room:one.example".try_into().unwrap(),
            key_pair: Ed25519KeyPair::from_der(&key, "1".to_owned()).unwrap(),
            events: HashMap::new(),
            tip: Vec::new(),
            depth: 0,
        }
    }

    /// Adds a state event, authorised by `state`, and puts it there.
    fn put(
        &mut self,
        state: &mut StateMap<OwnedEventId>,
        sender: &str,
        place: (&str, &str),
        content: &Value,
    ) {
        let rules = &RoomVersionRules::V11;
        self.depth += 1;
        let template = EventTemplate {
            room_id: Some(self.room_id.clone()),
            sender: sender.try_into().unwrap(),
            kind: place.0.into(),
            state_key: Some(place.1.to_owned()),
            content: serde_json::value::to_raw_value(content).unwrap(),
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::try_from(self.depth).unwrap()),
        };
        let (kind, key) = (&template.kind, template.state_key.as_deref());
        let auth = auth_types(kind, &template.sender, key, &template.content, rules).unwrap();
        let tip = Tip {
            prev_events: self.tip.clone(),
            auth_events: auth
                .iter()
                .filter_map(|place| state.get(place).cloned())
                .collect(),
            depth: self.depth,
        };
        let server = server_name!("one.example");
        let signed = build(template, tip, rules, server, &self.key_pair).unwrap();
        let pdu = Arc::clone(signed.pdu());
        let id = pdu.event_id.clone();
        state.insert(
            (StateEventType::from(place.0), place.1.to_owned()),
            id.clone(),
        );
        self.tip = vec![id.clone()];
        self.events.insert(id, pdu);
    }
}

fn member(number: usize) -> String {
    format!("@member{number}:one.example")
}

fn main() {
    const CREATOR: &str = "@creator:one.example";
    let mut room = Room::new();
    let mut state = StateMap::new();
    let joined = json!({ "membership": "join" });
    room.put(
        &mut state,
        CREATOR,
        ("m.room.create", ""),
        &json!({ "room_version": "11" }),
    );
    room.put(&mut state, CREATOR, ("m.room.member", CREATOR), &joined);
    let levels = json!({ "users": { CREATOR: 100 } });
    room.put(&mut state, CREATOR, ("m.room.power_levels", ""), &levels);
    let rule = json!({ "join_rule": "public" });
    room.put(&mut state, CREATOR, ("m.room.join_rules", ""), &rule);
    for number in state.len()..ENTRIES {
        let user = member(number);
        room.put(&mut state, &user, ("m.room.member", &user), &joined);
    }
    let (fork, mut states) = (room.tip.clone(), Vec::new());
    for branch in ["here", "there"] {
        room.tip.clone_from(&fork);
        let mut state = state.clone();
        for number in ENTRIES - CONFLICTS..ENTRIES {
            let (user, content) = (
                member(number),
                json!({ "membership": "join", "displayname": branch }),
            );
            room.put(&mut state, &user, ("m.room.member", &user), &content);
        }
        states.push(state);
    }
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let fetch = |id: &ruma::EventId| room.events.get(id).cloned();
        let resolved = resolve_states(&RoomVersionRules::V11, &states, fetch).unwrap();
        times.push(started.elapsed());
        assert_eq!(resolved.len(), ENTRIES);
    }
    times.sort_unstable();
    println!(
        "resolution of two states of {ENTRIES} entries that differ in {CONFLICTS}: {:?} (median of {ROUNDS}, {:?} to {:?})",
        times[ROUNDS / 2],
        times[0],
        times[ROUNDS - 1]
    );
}
