//! What users and operators do, drawn by the seed.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::World;

/// Carries out one step, and lets some time pass.
pub(super) async fn step(world: &mut World) {
    let actor = world.draw(world.people.len());
    let other = world.draw(world.people.len());
    match world.draw(100) {
        0..30 => world.say(actor).await,
        30..45 => world.say_for_a_while(actor).await,
        45..47 => world.set_policy(actor).await,
        47..55 => {
            let topic = format!("topic {}", world.draw(1000));
            world
                .set_state(actor, "m.room.topic", json!({ "topic": topic }))
                .await;
        }
        55..61 => {
            let levels = levels(world);
            world.set_state(actor, "m.room.power_levels", levels).await;
        }
        61..66 => world.member(actor, other, "ban").await,
        66..71 => world.member(actor, other, "leave").await,
        71..76 => world.member(actor, actor, "leave").await,
        76..84 => world.member(other, other, "join").await,
        84..91 => {
            let (one, two) = (world.draw(world.nodes.len()), world.draw(world.nodes.len()));
            world.cut(one, two, true);
        }
        91..96 => {
            let (one, two) = (world.draw(world.nodes.len()), world.draw(world.nodes.len()));
            world.cut(one, two, false);
        }
        _ => {
            let node = world.draw(world.nodes.len());
            world.restart(node).await;
        }
    }
    let pause_ms = world.draw(8_000) as u64;
    world.pass(Duration::from_millis(pause_ms)).await;
    world.purge().await;
}

/// Power levels that leave somebody at every server able to speak.
fn levels(world: &mut World) -> Value {
    let mut users = serde_json::Map::new();
    for number in 0..world.people.len() {
        let level = [0, 50, 50, 100][world.draw(4)];
        let person = &world.people[number];
        if !(world.has_privileged_creators && person.is_creator) {
            let level = if person.is_creator { 100 } else { level };
            users.insert(person.user_id.to_string(), level.into());
        }
    }
    json!({ "users": users, "state_default": 50, "ban": 50, "kick": 50, "users_default": 0 })
}
