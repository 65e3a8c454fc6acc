//! What encryption costs: messages beside bare vodozemac, the first message into a large room, the start with many sessions, and a
//! sync of many events.
//!
//! The server is a map in this process. Run by `cargo bench --package passeur-sdk`. Times are printed, and nothing is asserted about them.
//! With `-- --quick`, and as a part of `cargo test --benches`, everything is done a few times only, to see that it goes.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark measures time, prints it, and ends where something is wrong"
)]

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use passeur_sdk::{
    clock::SystemRng,
    crypto::{Changes, EncryptOptions, OlmMachine, SyncChanges},
    store::{DatabaseStore, Store, StoreKey},
};
use ruma::{OwnedRoomId, RoomId, events::AnySyncTimelineEvent, serde::Raw};
use serde_json::{Value, json};
use vodozemac::megolm::{GroupSession, InboundGroupSession, MegolmMessage, SessionConfig};

use self::server::{NOW_MS, Server, user};

#[path = "crypto/server.rs"]
mod server;

/// Messages that are encrypted and decrypted: below the number after which a session is replaced.
const MESSAGES: usize = 100;

/// How much of everything.
struct Size {
    /// Rounds of so many messages.
    rounds: usize,
    /// Other members of the large room.
    members: usize,
    /// Devices of each.
    devices: usize,
    /// Sessions in the store.
    sessions: usize,
    /// Events of one sync.
    events: usize,
}

/// What is measured.
const FULL: Size = Size {
    rounds: 20,
    members: 1000,
    devices: 3,
    sessions: 10_000,
    events: 10_000,
};

/// What shows that everything goes.
const QUICK: Size = Size {
    rounds: 1,
    members: 3,
    devices: 2,
    sessions: 10,
    events: 200,
};

fn room(number: usize) -> OwnedRoomId {
    RoomId::parse(format!("!room{number}:a.example")).unwrap()
}

fn tell(what: &str, took: Duration, count: usize) {
    let each_us = took.as_secs_f64() * 1e6 / count as f64;
    let ms = took.as_secs_f64() * 1e3;
    println!("{what:<56} {each_us:>10.1} µs each {ms:>10.1} ms");
}

/// Memory that this process holds, in MB.
fn resident_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kb = line.split_whitespace().nth(1).unwrap();
    kb.parse::<u64>().unwrap() / 1024
}

fn text() -> serde_json::Map<String, Value> {
    let body = "A message of the usual length, as people write them to each other all day.";
    let content = json!({"msgtype": "m.text", "body": body});
    content.as_object().unwrap().clone()
}

/// An event with that content, as a server passes it on.
fn event(number: usize, content: &Value) -> Raw<AnySyncTimelineEvent> {
    let event = json!({
        "type": "m.room.encrypted", "event_id": format!("$event{number}"), "sender": user(0),
        "origin_server_ts": NOW_MS, "content": content,
    });
    Raw::from_json_string(event.to_string()).unwrap()
}

fn encrypt(machine: &mut OlmMachine, room_id: &RoomId) -> (Changes, Value) {
    let content = text();
    let options = EncryptOptions::default();
    let staged = machine.encrypt_room_event(room_id, "m.room.message", &content, options, NOW_MS);
    let (changes, content) = staged.unwrap().into_parts();
    (changes, serde_json::from_str(content.json().get()).unwrap())
}

/// Messages from one device to another, and the same bytes through vodozemac alone.
fn throughput(size: &Size) {
    let mut server = Server::default();
    let (mut alice, mut bob) = (server.device(0, 0), server.device(1, 0));
    let (mut ours, mut bare) = ([Duration::ZERO; 2], [Duration::ZERO; 2]);
    for round in 0..size.rounds {
        let room_id = room(round);
        server.share(&mut alice, &room_id, &[user(0), user(1)]);
        server.sync(&mut bob);
        let started = Instant::now();
        let events: Vec<_> = (0..MESSAGES)
            .map(|_| encrypt(&mut alice, &room_id).1)
            .collect();
        ours[0] += started.elapsed();
        let number = |index: usize| round * MESSAGES + index;
        let events = events.iter().enumerate();
        let events: Vec<_> = events
            .map(|(index, content)| event(number(index), content))
            .collect();
        let started = Instant::now();
        for event in &events {
            let decrypted = bob.decrypt_room_event(&room_id, event, NOW_MS);
            std::hint::black_box(decrypted.unwrap().into_parts().1);
        }
        ours[1] += started.elapsed();
        let took = bare_round();
        bare = [bare[0] + took[0], bare[1] + took[1]];
    }
    let count = size.rounds * MESSAGES;
    tell("encrypt, with everything that is stored", ours[0], count);
    tell("encrypt, vodozemac alone", bare[0], count);
    tell("decrypt, with everything that is stored", ours[1], count);
    tell("decrypt, vodozemac alone", bare[1], count);
}

/// What any client must do at least: a plaintext with its padding, the ratchet, and the session written once a message.
fn bare_round() -> [Duration; 2] {
    let mut outbound = GroupSession::new(SessionConfig::version_1());
    let key = outbound.session_key();
    let mut inbound = InboundGroupSession::new(&key, SessionConfig::version_1());
    let plaintext = json!({"type": "m.room.message", "content": text(), "room_id": room(0)});
    let started = Instant::now();
    let encrypt = |_| outbound.encrypt(plaintext.to_string()).to_base64();
    let messages: Vec<String> = (0..MESSAGES).map(encrypt).collect();
    let encrypted = started.elapsed();
    let started = Instant::now();
    for message in &messages {
        let message = MegolmMessage::from_base64(message).unwrap();
        let decrypted = inbound.decrypt(&message).unwrap();
        let value: Value = serde_json::from_slice(&decrypted.plaintext).unwrap();
        std::hint::black_box(value);
    }
    [encrypted, started.elapsed()]
}

/// The first message into a room whose members are strangers.
fn large_room(size: &Size) {
    let (members, devices) = (size.members, size.devices);
    let mut server = Server::default();
    for member in 1..=members {
        for device in 0..devices {
            server.device(member, device);
        }
    }
    let mut alice = server.device(0, 0);
    let everybody: Vec<_> = (0..=members).map(user).collect();
    server.requests.clear();
    server.own_time = Duration::ZERO;
    let started = Instant::now();
    server.share(&mut alice, &room(0), &everybody);
    std::hint::black_box(encrypt(&mut alice, &room(0)).1);
    let what = format!("first message to {members} members with {devices} devices each");
    tell(&what, started.elapsed() - server.own_time, 1);
    for (kind, (count, bytes)) in &server.requests {
        println!("    {kind}: {count} requests, {} kB sent", bytes / 1024);
    }
    let started = Instant::now();
    server.share(&mut alice, &room(0), &everybody);
    std::hint::black_box(encrypt(&mut alice, &room(0)).1);
    tell("second message to them", started.elapsed(), 1);
}

/// The way from the file to a machine that is ready.
async fn start(size: &Size) {
    let sessions = size.sessions;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let open = || DatabaseStore::open(&path, StoreKey::raw([7; 32]), Arc::new(SystemRng));
    let mut server = Server::default();
    let mut alice = server.device(0, 0);
    let mut all = std::mem::take(&mut server.changes);
    for number in 0..sessions {
        server.share(&mut alice, &room(number), &[user(0)]);
        all.extend(std::mem::take(&mut server.changes));
    }
    let (user_id, device_id) = (alice.user_id().to_owned(), alice.device_id().to_owned());
    drop(alice);
    let store = open().await.unwrap();
    let started = Instant::now();
    store.commit(all.into()).await.unwrap();
    tell("write sessions", started.elapsed(), sessions);
    store.close().await.unwrap();
    drop(store);
    let before_mb = resident_mb();
    let started = Instant::now();
    let store = open().await.unwrap();
    let records = store.records().await.unwrap();
    let read = started.elapsed();
    let machine = OlmMachine::load(&user_id, &device_id, records).unwrap();
    tell(
        &format!("start with {sessions} sessions"),
        started.elapsed(),
        sessions,
    );
    tell(
        "    of which reading and decrypting the file",
        read,
        sessions,
    );
    println!(
        "    {} MB more memory",
        resident_mb().saturating_sub(before_mb)
    );
    drop(machine);
}

/// Many events that come at once, decrypted and committed with the sync's token.
async fn long_sync(size: &Size) {
    let events_count = size.events;
    let mut server = Server::default();
    let (mut alice, mut bob) = (server.device(0, 0), server.device(1, 0));
    let rooms = events_count / MESSAGES;
    let mut events = Vec::new();
    for number in 0..rooms {
        server.share(&mut alice, &room(number), &[user(0), user(1)]);
        for index in 0..MESSAGES {
            let (_, content) = encrypt(&mut alice, &room(number));
            events.push((room(number), event(number * MESSAGES + index, &content)));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let rng = Arc::new(SystemRng);
    let store = DatabaseStore::open(&path, StoreKey::raw([7; 32]), rng)
        .await
        .unwrap();
    let started = Instant::now();
    let sync = SyncChanges {
        to_device: server.inbox(&bob),
        ..SyncChanges::default()
    };
    let (mut all, _) = bob.receive_sync_changes(sync, NOW_MS).unwrap().into_parts();
    tell(&format!("take {rooms} room keys"), started.elapsed(), rooms);
    for (room_id, event) in &events {
        let decrypted = bob.decrypt_room_event(room_id, event, NOW_MS).unwrap();
        all.extend(decrypted.into_parts().0);
    }
    tell("decrypt the events", started.elapsed(), events_count);
    store.commit(all.into()).await.unwrap();
    tell(
        &format!("sync of {events_count} events, on disk"),
        started.elapsed(),
        events_count,
    );
}

#[tokio::main]
async fn main() {
    // `cargo bench` says so; `cargo test` does not.
    let asked = |flag: &str| std::env::args().any(|arg| arg == flag);
    let full = asked("--bench") && !asked("--quick");
    let size = if full { &FULL } else { &QUICK };
    throughput(size);
    large_room(size);
    start(size).await;
    long_sync(size).await;
}
