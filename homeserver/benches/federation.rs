//! What events of other servers cost: in a small and in a large room, in one room and over fifty, and joining a large room.
//!
//! Two whole servers in this process, joined without sockets; the figures of a join are of both together, all others of the
//! receiving one. Run by `cargo bench --package passeur-homeserver`. Times are printed, and nothing is asserted about them.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark measures time, prints it, and ends where something is wrong"
)]

use std::{fs, time::Instant};

use futures_util::future::join_all;
use passeur_homeserver::rooms::{MembershipChange, NewRoom, Preset, Profile};
use passeur_protocol::{
    build::{EventTemplate, Tip, auth_types, build, depth_after},
    versions,
};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId, ServerName,
    TransactionId, UInt, UserId,
    api::federation::transactions::send_transaction_message::v1 as send_transaction,
};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use self::server::{Server, Wires};

#[path = "federation/server.rs"]
mod server;

/// Members of the small and of the large room.
const MEMBERS: [usize; 2] = [10, 10_000];
/// Events that are received one by one.
const EVENTS: usize = 500;
/// Events in one transaction: as many as the specification allows.
const EVENTS_PER_TRANSACTION: usize = 50;
/// Transactions that are sent.
const TRANSACTIONS: usize = 40;
/// Rooms that a transaction's events are spread over.
const ROOMS: usize = 50;

/// Time since a start: on the wall, and of all of this process's threads on processors.
struct Measure {
    started: Instant,
    cpu_ms: u64,
}

impl Measure {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            cpu_ms: cpu_ms(),
        }
    }

    /// Prints what `count` operations took.
    fn tell(&self, what: &str, count: usize) {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu_ms = (cpu_ms() - self.cpu_ms) as f64;
        let count = count as f64;
        println!(
            "{what:<52} {:>9.3} ms CPU each {:>9.0} a second",
            cpu_ms / count,
            count / seconds
        );
    }
}

/// The time of this process on processors, in ms: the kernel counts hundredths of a second.
fn cpu_ms() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
}

/// The most memory that this process had since [`forget_peak`], in MB.
fn peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn user(name: &str, server: &ServerName) -> OwnedUserId {
    UserId::parse(format!("@{name}:{server}")).unwrap()
}

/// A public room of the peer with so many members, each of whom has joined and then changed their name.
async fn room_of(peer: &Server, members: usize) -> OwnedRoomId {
    let new = NewRoom {
        creator: user("alice", &peer.name),
        profile: Profile::default(),
        version: RoomVersionId::V11,
        preset: Preset::PublicChat,
        creation_content: Default::default(),
        power_levels: Default::default(),
        initial_state: Vec::new(),
        name: None,
        topic: None,
        alias: None,
        invite: Vec::new(),
        invite_remote: Vec::new(),
        is_direct: false,
    };
    let room = peer.app.rooms.create(&new).await.unwrap();
    for content in [
        json!({ "membership": "join" }),
        json!({ "membership": "join", "displayname": "A member" }),
    ] {
        let users: Vec<_> = (1..members)
            .map(|number| user(&format!("u{number}"), &peer.name))
            .collect();
        for some in users.chunks(1_000) {
            let joins = some.iter().map(|user| {
                peer.app.rooms.set_membership(MembershipChange {
                    room_id: room.clone(),
                    sender: user.clone(),
                    user: user.clone(),
                    content: content.clone(),
                })
            });
            for joined in join_all(joins).await {
                joined.unwrap();
            }
        }
    }
    room
}

/// A chain of messages that Alice of the peer could have sent, signed by the peer, on what `here` has of the room.
async fn messages(
    here: &Server,
    peer: &Server,
    room: &OwnedRoomId,
    count: usize,
) -> Vec<Box<RawValue>> {
    let snapshot = here.app.rooms.snapshot(room).await.unwrap().unwrap();
    let rules = versions::rules(&snapshot.version).unwrap();
    let sender = user("alice", &peer.name);
    let content = to_raw_value(
        &json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "A".repeat(1024) }),
    );
    let content: Box<RawValue> = content.unwrap();
    let kind = "m.room.encrypted".into();
    let auth = auth_types(&kind, &sender, None, &content, rules).unwrap();
    let auth_events: Vec<OwnedEventId> = auth
        .iter()
        .filter_map(|place| snapshot.state.get(place).cloned())
        .collect();
    let (mut prev_events, mut depth) = (snapshot.extremities.clone(), snapshot.depth as u64);
    let mut made = Vec::with_capacity(count);
    for number in 0..count {
        depth = depth_after([depth]);
        let template = EventTemplate {
            room_id: Some(room.clone()),
            sender: sender.clone(),
            kind: kind.clone(),
            state_key: None,
            content: content.clone(),
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::try_from(number).unwrap()),
        };
        let tip = Tip {
            prev_events,
            auth_events: auth_events.clone(),
            depth,
        };
        let signed = build(template, tip, rules, &peer.name, &peer.key_pair).unwrap();
        prev_events = vec![signed.pdu().event_id.clone()];
        made.push(serde_json::from_slice(signed.json()).unwrap());
    }
    made
}

/// Joins a room of the peer and tells what that took.
async fn join(here: &Server, peer: &Server, room: &OwnedRoomId, members: usize) {
    let alice = user("alice", &here.name);
    forget_peak();
    let (before_mb, measure) = (peak_mb(), Measure::start());
    let servers = vec![peer.name.clone()];
    here.app
        .rooms
        .join(room, &alice, None, servers)
        .await
        .unwrap();
    let seconds = measure.started.elapsed().as_secs_f64();
    measure.tell(
        &format!("join of a room of {members} members (both servers)"),
        1,
    );
    println!(
        "  {seconds:.1} s, at most {} MB more than before",
        peak_mb() - before_mb
    );
}

/// One inbound event after another, in a small and in a large room.
async fn one_by_one(here: &Server, peer: &Server) {
    for members in MEMBERS {
        let room = room_of(peer, members).await;
        join(here, peer, &room, members).await;
        let events = messages(here, peer, &room, EVENTS).await;
        let measure = Measure::start();
        for event in &events {
            here.app
                .rooms
                .receive(&peer.name, &room, event)
                .await
                .unwrap();
        }
        measure.tell(&format!("an event in a room of {members} members"), EVENTS);
    }
}

/// Whole transactions, each spread over some rooms.
async fn transactions(here: &Server, peer: &Server, rooms: usize) {
    let mut queues = Vec::with_capacity(rooms);
    let count = TRANSACTIONS * EVENTS_PER_TRANSACTION / rooms;
    for _ in 0..rooms {
        let room = room_of(peer, 2).await;
        let alice = user("alice", &here.name);
        let servers = vec![peer.name.clone()];
        here.app
            .rooms
            .join(&room, &alice, None, servers)
            .await
            .unwrap();
        queues.push(messages(here, peer, &room, count).await.into_iter());
    }
    let measure = Measure::start();
    for number in 0..TRANSACTIONS {
        let id = TransactionId::new();
        let now = MilliSecondsSinceUnixEpoch(UInt::try_from(number).unwrap());
        let mut request = send_transaction::Request::new(id, peer.name.clone(), now);
        let next = (0..EVENTS_PER_TRANSACTION).filter_map(|at| queues[at % rooms].next());
        request.pdus = next.collect();
        let bounds = peer.app.remote.large();
        let answer = peer
            .app
            .remote
            .call(&here.name, request, bounds)
            .await
            .unwrap();
        assert!(answer.pdus.values().all(Result::is_ok));
    }
    let events = TRANSACTIONS * EVENTS_PER_TRANSACTION;
    measure.tell(
        &format!("an event of transactions over {rooms} rooms"),
        events,
    );
}

#[tokio::main]
async fn main() {
    let wires = Wires::default();
    let here = Server::start("here.example", &wires).await;
    let peer = Server::start("peer.example", &wires).await;
    for rooms in [1, ROOMS] {
        transactions(&here, &peer, rooms).await;
    }
    one_by_one(&here, &peer).await;
}
