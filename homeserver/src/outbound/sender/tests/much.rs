//! What is not owed, however much of it, holds back nothing that is.

use super::*;

/// More than one transaction takes.
const MANY: usize = 120;

#[tokio::test]
async fn a_long_history_before_a_join_holds_back_nothing() {
    let world = World::start().await;
    accept(&world.here.network, peer());
    let (first, second) = (world.room().await, world.room().await);
    world.set(&first, &[(PEER, Membership::Join)]).await;
    world.say(&first, "first").await;
    world.settle(0).await;
    for _ in 0..MANY {
        world.say(&second, "before").await;
    }
    world.set(&second, &[(PEER, Membership::Join)]).await;
    for body in ["second", "third"] {
        world.say(&second, body).await;
        world.settle(0).await;
    }
    world.say(&first, "fourth").await;
    world.settle(0).await;
    assert_eq!(
        heard(&world.here.network, peer()),
        ["first", "second", "third", "fourth"]
    );
}

#[tokio::test]
async fn much_said_during_an_absence_holds_back_nothing() {
    let world = World::start().await;
    accept(&world.here.network, peer());
    let room = world.room().await;
    world.set(&room, &[(PEER, Membership::Join)]).await;
    world.say(&room, "first").await;
    world.settle(0).await;
    world.set(&room, &[(PEER, Membership::Leave)]).await;
    world.settle(0).await;
    for _ in 0..MANY {
        world.say(&room, "meanwhile").await;
    }
    world.set(&room, &[(PEER, Membership::Join)]).await;
    world.say(&room, "back").await;
    world.settle(0).await;
    assert_eq!(heard(&world.here.network, peer()), ["first", "back"]);
}
