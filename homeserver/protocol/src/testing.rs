//! What the tests of this crate share: a signing key, arbitrary values, and a room that grows event by event.
//!
//! Invariant: everything is deterministic; times and keys are constants.

use std::{collections::HashMap, sync::Arc};

use proptest::prelude::*;
use ruma::{
    CanonicalJsonValue, EventId, Int, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, UInt,
    events::StateEventType,
    room_version_rules::RoomVersionRules,
    serde::{Base64, base64::Standard},
    signatures::{Ed25519KeyPair, PublicKeyMap},
};
use serde_json::{Value as JsonValue, value::RawValue as RawJsonValue};

use crate::{
    build::{EventTemplate, Tip, auth_types, build, depth_after},
    pdu::Pdu,
    resolve::StateMap,
    signed::SignedPdu,
};

/// The room versions whose rules the design supports.
pub(crate) const ALL_RULES: [RoomVersionRules; 7] = [
    RoomVersionRules::V6,
    RoomVersionRules::V7,
    RoomVersionRules::V8,
    RoomVersionRules::V9,
    RoomVersionRules::V10,
    RoomVersionRules::V11,
    RoomVersionRules::V12,
];

pub(crate) const ALICE: &str = "@alice:one.example";
pub(crate) const BOB: &str = "@bob:two.example";
pub(crate) const CAROL: &str = "@carol:three.example";

/// A key pair that is the same in every run.
pub(crate) fn key_pair() -> Ed25519KeyPair {
    const DER: &str = "MFECAQEwBQYDK2VwBCIEINjozvdfbsGEt6DD+7Uf4PiJ/YvTNXV2mIPc/tA0T+6tgSEA3TPraTczVkDPTRaX4K+AfUuyx7Mzq1UafTXypnl0t2k";
    let der: Base64<Standard> = Base64::parse(DER).unwrap();
    Ed25519KeyPair::from_der(der.as_bytes(), "1".to_owned()).unwrap()
}

/// Another such key pair, with the name that policy servers give theirs.
pub(crate) fn policy_key_pair() -> Ed25519KeyPair {
    key_pair_of_seed([7; 32], "policy_server")
}

/// The key pair of the specification's vectors. <https://spec.matrix.org/v1.19/appendices/#signing-key>
pub(crate) fn vector_key_pair() -> Ed25519KeyPair {
    let seed =
        Base64::<Standard, [u8; 32]>::parse("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap();
    key_pair_of_seed(seed.into_inner(), "1")
}

fn key_pair_of_seed(seed: [u8; 32], name: &str) -> Ed25519KeyPair {
    const PKCS8_PREFIX: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    Ed25519KeyPair::from_der(&[&PKCS8_PREFIX[..], &seed].concat(), name.to_owned()).unwrap()
}

/// The public half of [`key_pair`], as the key of each of `servers`.
pub(crate) fn public_keys(servers: &[&str]) -> PublicKeyMap {
    let key = Base64::new(key_pair().public_key().to_vec());
    let of_server = std::collections::BTreeMap::from([("ed25519:1".to_owned(), key)]);
    servers
        .iter()
        .map(|server| ((*server).to_owned(), of_server.clone()))
        .collect()
}

/// JSON as the raw value that templates take.
pub(crate) fn raw(value: &JsonValue) -> Box<RawJsonValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

/// Any canonical value of a few levels.
pub(crate) fn any_value() -> impl Strategy<Value = CanonicalJsonValue> {
    let leaf = prop_oneof![
        Just(CanonicalJsonValue::Null),
        any::<bool>().prop_map(CanonicalJsonValue::Bool),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991)
            .prop_map(|n| CanonicalJsonValue::Integer(Int::try_from(n).unwrap())),
        any::<String>().prop_map(CanonicalJsonValue::String),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(CanonicalJsonValue::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(CanonicalJsonValue::Object),
        ]
    })
}

/// A room that is built event by event, each signed by its sender's server with [`key_pair`].
pub(crate) struct TestRoom {
    pub(crate) rules: RoomVersionRules,
    pub(crate) room_id: Option<OwnedRoomId>,
    pub(crate) events: HashMap<OwnedEventId, Arc<Pdu>>,
    pub(crate) now_ms: u64,
}

impl TestRoom {
    /// An empty room, without its create event.
    pub(crate) fn empty(rules: RoomVersionRules) -> Self {
        let room_id = (!rules.authorization.room_create_event_id_as_room_id)
            .then(|| OwnedRoomId::try_from("!room:one.example").unwrap());
        Self {
            rules,
            room_id,
            events: HashMap::new(),
            now_ms: 1_700_000_000_000,
        }
    }

    /// A public room that Alice created and Bob joined, and its state.
    pub(crate) fn with_bob(rules: RoomVersionRules) -> (Self, StateMap<OwnedEventId>) {
        let mut room = Self::empty(rules);
        let mut state = StateMap::new();
        let create = serde_json::json!({ "creator": ALICE, "room_version": "11" });
        room.put(&mut state, ALICE, "m.room.create", Some(""), create);
        room.put(
            &mut state,
            ALICE,
            "m.room.member",
            Some(ALICE),
            serde_json::json!({ "membership": "join" }),
        );
        let levels = if room.rules.authorization.explicitly_privilege_room_creators {
            serde_json::json!({ "users": { BOB: 50 } })
        } else {
            serde_json::json!({ "users": { ALICE: 100, BOB: 50 } })
        };
        room.put(&mut state, ALICE, "m.room.power_levels", Some(""), levels);
        room.put(
            &mut state,
            ALICE,
            "m.room.join_rules",
            Some(""),
            serde_json::json!({ "join_rule": "public" }),
        );
        room.put(
            &mut state,
            BOB,
            "m.room.member",
            Some(BOB),
            serde_json::json!({ "membership": "join" }),
        );
        (room, state)
    }

    /// Builds an event over `state` without adding it to the room.
    pub(crate) fn build(
        &mut self,
        state: &StateMap<OwnedEventId>,
        sender: &str,
        kind: &str,
        state_key: Option<&str>,
        content: JsonValue,
    ) -> SignedPdu {
        self.now_ms += 1;
        let template = EventTemplate {
            room_id: self.room_id.clone(),
            sender: sender.try_into().unwrap(),
            kind: kind.into(),
            state_key: state_key.map(ToOwned::to_owned),
            content: raw(&content),
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::try_from(self.now_ms).unwrap()),
        };
        let auth_events = auth_types(
            &template.kind,
            &template.sender,
            state_key,
            &template.content,
            &self.rules,
        )
        .unwrap()
        .iter()
        .filter_map(|place| state.get(place).cloned())
        .collect();
        let last = self
            .events
            .values()
            .max_by_key(|event| (event.depth, event.event_id.clone()));
        let tip = Tip {
            prev_events: last.iter().map(|event| event.event_id.clone()).collect(),
            auth_events,
            depth: depth_after(last.map(|event| event.depth)),
        };
        let server = template.sender.server_name().to_owned();
        build(template, tip, &self.rules, &server, &key_pair()).unwrap()
    }

    /// Builds an event over `state`, adds it to the room and to the state.
    pub(crate) fn put(
        &mut self,
        state: &mut StateMap<OwnedEventId>,
        sender: &str,
        kind: &str,
        state_key: Option<&str>,
        content: JsonValue,
    ) -> Arc<Pdu> {
        let pdu = Arc::clone(self.build(state, sender, kind, state_key, content).pdu());
        self.room_id.get_or_insert_with(|| pdu.room_id.clone());
        self.events.insert(pdu.event_id.clone(), Arc::clone(&pdu));
        if let Some(place) = pdu.state_place() {
            state.insert(place, pdu.event_id.clone());
        }
        pdu
    }

    /// An event of the room.
    pub(crate) fn get(&self, event_id: &EventId) -> Option<Arc<Pdu>> {
        self.events.get(event_id).cloned()
    }

    /// What `state` holds at a place.
    pub(crate) fn at(
        &self,
        state: &StateMap<OwnedEventId>,
        kind: &StateEventType,
        key: &str,
    ) -> Option<Arc<Pdu>> {
        state
            .get(&(kind.clone(), key.to_owned()))
            .and_then(|id| self.get(id))
    }
}
