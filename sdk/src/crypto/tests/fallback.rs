//! Fallback keys: replaced once they were used, and then forgotten.

use super::world::*;
use crate::crypto::RoomKeySettings;

const HOUR_MS: u64 = 60 * 60 * 1000;

#[test]
fn a_replaced_fallback_key_is_forgotten_an_hour_later_and_not_before() {
    for late in [false, true] {
        let (mut world, mut alice, mut bob, members) = alice_and_bob();
        // Only the fallback key is left to be given out.
        world.device(&bob).one_time.clear();
        world
            .share(&mut alice, &members, &RoomKeySettings::default())
            .unwrap();
        let held = std::mem::take(&mut world.device(&bob).inbox);
        assert_eq!(held.len(), 1);
        world.now_ms += HOUR_MS;
        world.sync(&mut bob);
        assert!(!world.device(&bob).fallback_used, "it was replaced");
        world.now_ms += if late { HOUR_MS } else { HOUR_MS / 2 };
        world.sync(&mut bob);
        bob.restart();
        // What was made with the old key, recorded and delivered by whoever holds it.
        world.device(&bob).inbox = held;
        world.sync(&mut bob);
        assert_eq!(bob.machine.inbound.is_empty(), late);
    }
}
