//! Two processes on one database, of which neither knows what the other has cached: a room that moved is looked at again, and what was
//! to be said is said once, on what is there now.

use futures_util::future::join_all;
use ruma::RoomId;

use super::*;
use crate::store::Direction;

/// Another process on the database of `server`.
async fn beside(server: &Server) -> Server {
    let config = (*server.app.config).clone();
    let folder = server.folder.path();
    let (app, router) = open(folder, config, &server.clock, 2, &server.network).await;
    Server {
        folder: tempfile::tempdir().unwrap(),
        clock: server.clock.clone(),
        app,
        router,
        network: server.network.clone(),
    }
}

async fn say(server: &Server, user: &User, room: &str, body: &str) {
    let path = format!(
        "/rooms/{room}/send/m.room.message/{}",
        body.replace(' ', "_")
    );
    let content = json!({"msgtype": "m.text", "body": body});
    expect_ok(server.put(user, &path, content).await);
}

#[tokio::test]
async fn a_room_that_another_process_has_moved_is_built_on_again() {
    let one = Server::start().await;
    let alice = one.register("alice").await;
    let room = one.room(&alice, json!({})).await;
    let other = beside(&one).await;
    let mut wanted = Vec::new();
    // In turns, each on what the other has cached as newest; then all at once.
    for turn in 0..5 {
        for (server, name) in [(&one, "one"), (&other, "other")] {
            let body = format!("{name} {turn}");
            say(server, &alice, &room, &body).await;
            wanted.push(body);
        }
    }
    let crowd: Vec<String> = (0..40).map(|n| format!("crowd {n}")).collect();
    join_all(crowd.iter().enumerate().map(|(n, body)| {
        let server = if n % 2 == 0 { &one } else { &other };
        say(server, &alice, &room, body)
    }))
    .await;
    let room_id = <&RoomId>::try_from(room.as_str()).unwrap();
    let store = &one.app.store;
    let events = store.timeline(room_id, i64::MIN, Direction::Forward, 1000);
    let events = events.await.unwrap();
    let body = |event: &Arc<crate::store::Event>| {
        let content: Value = serde_json::from_str(event.pdu.content.get()).unwrap();
        content["body"].as_str().map(str::to_owned)
    };
    let mut found: Vec<_> = events.iter().filter_map(body).collect();
    assert_eq!(found[..wanted.len()], wanted);
    wanted.extend(crowd);
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted, "each is there once");
    for pair in events.windows(2) {
        let before: Vec<_> = pair[1].pdu.prev_events.iter().collect();
        assert_eq!(before, [pair[0].id()], "nobody built on an old tip");
    }
}
