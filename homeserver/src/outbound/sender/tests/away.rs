//! Many servers that are away, and those that are not.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::outbound::sender::places::{LATE_MAX, PROMPT, PROMPT_MAX};

/// Servers that answer, and as many again that take requests and never do.
const MANY: usize = 2_500;

#[tokio::test]
async fn one_server_that_is_away_holds_back_no_other() {
    let world = World::start().await;
    let room = world.room().await;
    let other = server_name!("other.org");
    accept(&world.here.network, other);
    world
        .set(
            &room,
            &[
                (PEER, Membership::Join),
                ("@carol:other.org", Membership::Join),
            ],
        )
        .await;
    world.settle(0).await;
    assert_eq!(world.sender.lag_ms(), 0);
    world.say(&room, "hello").await;
    world.settle(1).await;
    world.here.clock.shift_wall(1_000);
    assert_eq!(world.sender.lag_ms(), 1_000);
    assert_eq!(heard(&world.here.network, other), ["hello"]);
}

/// Half of 5,000 servers, that answer or that do not, as members of a room.
fn servers(kind: &str) -> Vec<OwnedServerName> {
    (0..MANY)
        .map(|n| format!("{kind}{n}.org").try_into().unwrap())
        .collect()
}

async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..YIELDS_MAX {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not come to that");
}

#[tokio::test]
async fn of_5000_servers_half_never_answer_and_the_others_notice_nothing() {
    let world = World::start().await;
    let room = world.room().await;
    let (here, away) = (servers("here"), servers("away"));
    let network = &world.here.network;
    let served = Arc::new(AtomicUsize::new(0));
    for server in &here {
        let served = Arc::clone(&served);
        network.serve(server, move |_| {
            served.fetch_add(1, Ordering::Relaxed);
            answer(200, r#"{"pdus":{}}"#)
        });
    }
    away.iter().for_each(|server| network.silence(server));
    let users: Vec<String> = here
        .iter()
        .chain(&away)
        .map(|s| format!("@x:{s}"))
        .collect();
    let members: Vec<_> = users
        .iter()
        .map(|u| (u.as_str(), Membership::Join))
        .collect();
    world.set(&room, &members).await;

    // The first time nobody knows who is away: each of those costs the others a moment in one of many places.
    world.say(&room, "one").await;
    let mut moments = 0;
    loop {
        let is_served = || served.load(Ordering::Relaxed) == MANY;
        let all_places = (moments + 1) * PROMPT_MAX;
        until(|| is_served() || network.hung() >= all_places).await;
        assert!(network.hanging() <= PROMPT_MAX + LATE_MAX);
        if is_served() {
            break;
        }
        moments += 1;
        world.here.clock.advance(PROMPT);
    }
    assert!(moments <= MANY / PROMPT_MAX + 1, "{moments} moments");
    until(|| network.hung() >= MANY).await;
    world.here.clock.advance(PROMPT);

    // From then on they have places of their own, and keep nobody waiting for any time at all.
    for round in 2..=3 {
        world.say(&room, "again").await;
        until(|| served.load(Ordering::Relaxed) == round * MANY).await;
        assert!(network.hanging() <= LATE_MAX);
    }
    until(|| world.sender.active() == MANY).await;

    // One of them comes back, and is believed before all others that wait.
    let back = &away[MANY - 1];
    accept(network, back);
    network.unsilence(back);
    world.sender.peer_is_alive(back);
    until(|| world.sender.active() == MANY - 1).await;
    assert_eq!(heard(network, back), ["one", "again", "again"]);

    // What waits for one that is away is bounded.
    for n in 0..2 * TYPING_WAITING_MAX {
        let user = OwnedUserId::try_from(format!("@u{n}:here.org")).unwrap();
        let handle = Arc::clone(&world.sender.0.tasks.lock().unwrap()[&away[0]]);
        let key = (room.clone(), user);
        handle.tell(|news| news.note_typing(key, true));
        assert!(handle.news.lock().unwrap().typing.len() <= TYPING_WAITING_MAX);
    }
}
