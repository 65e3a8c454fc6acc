//! Servers that are killed at any instruction, under load: nothing acknowledged is lost, nothing comes twice.

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
};

use passeur_tests::{
    Homeserver,
    ca::TestCa,
    server::{Database, TestServer},
    user::{User, WAIT_MAX},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

mod notes;
mod receipts;

use notes::Notes;
use receipts::Readers;

/// Users at each server who send all the time.
const SENDERS_PER_SERVER: usize = 4;

/// After how many acknowledged messages a server is killed, at most; the number differs from round to round.
const ACKNOWLEDGED_PER_ROUND_MAX: usize = 60;

/// How often a server is killed, unless `PASSEUR_TEST_KILL_ROUNDS` says otherwise.
const ROUNDS: usize = 4;

/// What all senders share.
struct Load {
    room: String,
    /// Event id of each acknowledged body.
    acknowledged: Mutex<BTreeMap<String, String>>,
    /// How many there are.
    count: watch::Sender<usize>,
    /// Tells senders that a server has been started again, or (with `None`) that it is enough.
    round: watch::Receiver<Option<usize>>,
}

/// Sends messages one after the other until it is enough; each is repeated with its transaction id until acknowledged.
async fn send_all_the_time(user: Arc<User>, name: String, load: Arc<Load>) {
    let mut round = load.round.clone();
    for number in 0.. {
        if round.borrow_and_update().is_none() {
            return;
        }
        let body = format!("quetzal: {name} number {number}");
        let path = format!("/v3/rooms/{}/send/m.room.message/{number}", load.room);
        let content = json!({"msgtype": "m.text", "body": body});
        let event_id = loop {
            match user.attempt(Method::PUT, &path, Some(&content)).await {
                Some(Ok(answer)) => break answer["event_id"].as_str().unwrap().to_owned(),
                Some(Err(refusal)) if refusal.status < 500 => panic!("{name}: {refusal:?}"),
                // The server is down: there is no point in trying before it is up.
                _ => round.changed().await.unwrap(),
            }
        };
        load.acknowledged.lock().unwrap().insert(body, event_id);
        load.count.send_modify(|count| *count += 1);
    }
}

/// Waits until the user's server has every acknowledged event, then checks that it has each body once, under its id.
async fn expect_all(user: &mut User, load: &Load) {
    let wanted = load.acknowledged.lock().unwrap().clone();
    let complete = async {
        loop {
            let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            for event in user.history(&load.room).await {
                if let Some(body) = event["content"]["body"].as_str() {
                    found
                        .entry(body.to_owned())
                        .or_default()
                        .push(event["event_id"].clone());
                }
            }
            if wanted.keys().all(|body| found.contains_key(body)) {
                return found;
            }
            user.sync().await;
        }
    };
    let found = tokio::time::timeout(WAIT_MAX, complete)
        .await
        .expect("an acknowledged event is missing");
    for (body, ids) in found {
        let id = wanted
            .get(&body)
            .unwrap_or_else(|| panic!("{body} was never acknowledged"));
        assert_eq!(ids, [json!(id)], "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_loses_nothing_acknowledged_when_servers_are_killed() {
    nothing_is_lost_on(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_loses_nothing_acknowledged_when_servers_are_killed() {
    nothing_is_lost_on(Database::Postgres).await;
}

async fn nothing_is_lost_on(database: Database) {
    let rounds =
        env::var("PASSEUR_TEST_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let ca = TestCa::new();
    let mut servers = [(); 2].map(|()| TestServer::start_on(&ca, database));
    let mut alice = User::register(&servers[0], "alice").await;
    let mut bob = User::register(&servers[1], "bob").await;
    let room = alice.create_room(json!({"preset": "public_chat"})).await;
    bob.join(&room, servers[0].server_name()).await;
    let (announce, round) = watch::channel(Some(0));
    let load = Arc::new(Load {
        room,
        acknowledged: Mutex::default(),
        count: watch::Sender::new(0),
        round,
    });
    let mut senders = Vec::new();
    for (at, server) in servers.iter().enumerate() {
        for number in 0..SENDERS_PER_SERVER {
            let name = format!("sender_{at}_{number}");
            let user = User::register(server, &name).await;
            user.join(&load.room, servers[0].server_name()).await;
            senders.push(tokio::spawn(send_all_the_time(
                Arc::new(user),
                name,
                Arc::clone(&load),
            )));
        }
    }
    let notes = Notes::start(&servers, &load).await;
    let readers = Readers::start(&servers, &load).await;
    kill_often(&mut servers, &load, &announce, rounds).await;
    announce.send_replace(None);
    for sender in senders {
        tokio::time::timeout(WAIT_MAX, sender)
            .await
            .expect("a sender stands still")
            .unwrap();
    }
    expect_all(&mut alice, &load).await;
    expect_all(&mut bob, &load).await;
    readers.expect_last([&alice, &bob], &load.room).await;
    notes.expect_all_once().await;
}

/// Kills the servers in turns and starts them again, as much as is to be acknowledged lying in between.
async fn kill_often(
    servers: &mut [TestServer; 2],
    load: &Load,
    announce: &watch::Sender<Option<usize>>,
    rounds: usize,
) {
    for number in 1..=rounds {
        // Scattered, and the same in every run; what differs from run to run is what the servers are doing just then.
        let mut count = load.count.subscribe();
        let wanted = *count.borrow() + 1 + (number * 37) % ACKNOWLEDGED_PER_ROUND_MAX;
        let reached =
            tokio::time::timeout(WAIT_MAX, count.wait_for(|count| *count >= wanted)).await;
        reached.expect("the senders stand still").unwrap();
        let server = &mut servers[number % 2];
        server.kill();
        server.restart();
        announce.send_replace(Some(number));
    }
}
