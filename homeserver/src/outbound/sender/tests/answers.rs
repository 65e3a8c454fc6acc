//! What a server answers to a transaction besides its status does not matter.

use super::*;
use crate::outbound::SMALL_ANSWER_BYTES_MAX;

#[tokio::test]
async fn a_transaction_that_was_answered_with_success_was_taken_whatever_the_body() {
    let long = " ".repeat(SMALL_ANSWER_BYTES_MAX + 1);
    let list = r#"[200, {}]"#;
    for said in ["{}", r#"{"pdus": null}"#, list, "", "thanks", long.as_str()] {
        let world = World::start().await;
        let said = said.to_owned();
        world
            .here
            .network
            .serve(peer(), move |_| answer(200, said.clone()));
        let room = world.room().await;
        world.set(&room, &[(PEER, Membership::Join)]).await;
        world.say(&room, "one").await;
        world.settle(0).await;
        world.say(&room, "two").await;
        world.settle(0).await;
        assert_eq!(world.here.network.count(peer()), 2);
        assert_eq!(heard(&world.here.network, peer()), ["one", "two"]);
    }
    // The control: a refusal is one, whatever the body.
    let world = World::start().await;
    world
        .here
        .network
        .serve(peer(), move |_| answer(500, long.clone()));
    let room = world.room().await;
    world.set(&room, &[(PEER, Membership::Join)]).await;
    world.say(&room, "one").await;
    world.settle(1).await;
}
