//! Whatever a server makes of what it passes on, the machine neither panics nor stops working.

use std::sync::LazyLock;

use proptest::prelude::*;
use ruma::{OwnedUserId, api::client::keys::get_keys};
use serde_json::{Value, json};

use super::world::*;
use crate::crypto::{EncryptOptions, IncomingResponse, OutgoingBody};

/// Values to put in the place of others.
pub(super) fn junk() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!(-1)),
        Just(json!(u64::MAX)),
        Just(json!(1.5)),
        Just(json!("m.olm.v1.curve25519-aes-sha2")),
        "[A-Za-z0-9+/]{0,90}".prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ]
}

/// Replaces the value at one of the places in the text, counted in reading order.
pub(super) fn spoil(value: &mut Value, place: &mut usize, junk: &Value) -> bool {
    if *place == 0 {
        *value = junk.clone();
        return true;
    }
    *place -= 1;
    match value {
        Value::Object(fields) => fields.values_mut().any(|field| spoil(field, place, junk)),
        Value::Array(items) => items.iter_mut().any(|item| spoil(item, place, junk)),
        _ => false,
    }
}

/// A to-device event and a room event from Alice, and Alice's device keys: what Bob's machine reads.
static HONEST: LazyLock<(Value, Value, Value)> = LazyLock::new(|| {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    let event = world.send(
        &mut alice,
        &members,
        "hello",
        lasting(crate::expiry::ExpiryClass::Day1),
    );
    (
        world.device(&bob).inbox[0].clone(),
        event,
        world.device(&alice).keys.clone(),
    )
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn spoilt_events_and_keys_are_survived(place in 0_usize..14, junk in junk()) {
        let (mut world, mut alice, mut bob, members) = alice_and_bob();
        let (mut to_device, mut event, mut keys) = HONEST.clone();
        for value in [&mut to_device, &mut event, &mut keys] {
            spoil(value, &mut place.clone(), &junk);
        }
        let me: OwnedUserId = bob.user_id();
        world.device(&bob).inbox = vec![to_device, json!({ "type": "m.room_key.withheld", "sender": me, "content": junk })];
        world.sync(&mut bob);
        if event.is_object() {
            let _ = bob.decrypt(&event, world.now_ms);
        }
        let staged = bob.machine.update_tracked_users(&members).unwrap();
        bob.keep(staged);
        for request in bob.machine.outgoing_requests(world.now_ms).unwrap() {
            if let OutgoingBody::KeysQuery(_) = &request.body {
                let mut answer = get_keys::v3::Response::new();
                answer.device_keys.insert(alice.user_id(), [("ALICE1".into(), raw(&keys))].into());
                answer.master_keys.insert(alice.user_id(), raw(&junk));
                answer.self_signing_keys.insert(alice.user_id(), raw(&keys));
                let answer = IncomingResponse::KeysQuery(answer);
                let staged = bob.machine.mark_request_as_sent(&request.id, answer, world.now_ms).unwrap();
                bob.keep(staged);
            }
        }
        // What was honest still arrives, after Bob has accepted whatever the server had made of Alice.
        world.changes.push(alice.user_id());
        world.sync(&mut bob);
        let staged = bob.machine.accept_identity_change(&alice.user_id()).unwrap();
        bob.keep(staged);
        let event = world.send(&mut alice, &members, "still there", EncryptOptions::default());
        world.sync(&mut bob);
        bob.restart();
        prop_assert_eq!(bob.body(&event, world.now_ms).unwrap(), "still there");
    }
}
