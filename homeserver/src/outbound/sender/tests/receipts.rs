//! Receipts between more events than fit into one transaction.

use super::*;
use crate::store::RecordReceipt;

impl World {
    async fn reads(&self, room: &RoomId, user: &str) {
        let change = RecordReceipt {
            room_id: room.to_owned(),
            user_id: user.try_into().unwrap(),
            private: false,
            thread: String::new(),
            event_id: "$read".try_into().unwrap(),
            room_order: 1,
            ts: 1,
        };
        assert!(self.here.store.store.commit(change).await.unwrap().output);
    }
}

#[tokio::test]
async fn a_receipt_before_the_end_of_a_transaction_is_in_it() {
    let world = World::start().await;
    let room = world.room().await;
    world.set(&room, &[(PEER, Membership::Join)]).await;
    world.settle(0).await;
    world.say(&room, "first").await;
    world.settle(1).await;
    for n in 0..60 {
        world.say(&room, &n.to_string()).await;
        match n {
            10 => world.reads(&room, "@early:here.org").await,
            59 => world.reads(&room, "@late:here.org").await,
            _ => {}
        }
    }
    accept(&world.here.network, peer());
    world.here.clock.advance(Duration::from_secs(2));
    world.settle(0).await;
    assert_eq!(heard(&world.here.network, peer()).len(), 61);
    let mut readers = Vec::new();
    for (_, request) in world.here.network.requests() {
        let transaction = body(&request);
        for edu in transaction["edus"].as_array().into_iter().flatten() {
            let read = edu["content"][room.as_str()]["m.read"].as_object().unwrap();
            readers.extend(read.keys().cloned());
        }
    }
    assert_eq!(readers, ["@early:here.org", "@late:here.org"]);
}
