//! Deliveries to servers that are there, away, restarted, refusing, or leaving.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::Request;
use ruma::{RoomVersionId, server_name, user_id};
use serde_json::{Value, json, value::to_raw_value};

use super::*;
use crate::{
    clock::SeededRng,
    outbound::testing::{Here, Network, json as answer},
    rooms::{Draft, NewRoom, Preset, Profile, Rooms, RoomsContext},
    store::{Membership, NewEdu, NewMembership, RoomAppend, SendToDevice},
};

mod answers;
mod away;
mod much;
mod parts;
mod receipts;

use parts::{YIELDS_MAX, accept, start};

struct World {
    here: Here,
    drain: Drain,
    rooms: Arc<Rooms>,
    sender: Sender,
}

fn alice() -> OwnedUserId {
    user_id!("@alice:here.org").to_owned()
}

impl World {
    async fn start() -> Self {
        let here = Here::start(server_name!("here.org")).await;
        let drain = Drain::new();
        let (rooms, sender) = start(&here, &drain);
        Self {
            here,
            drain,
            rooms,
            sender,
        }
    }

    /// What a kill and a start do, as far as the disk can tell.
    async fn restart(mut self) -> Self {
        self.drain.begin();
        self.here.store.reopen().await;
        let drain = Drain::new();
        let (rooms, sender) = start(&self.here, &drain);
        Self {
            rooms,
            sender,
            drain,
            ..self
        }
    }

    async fn room(&self) -> OwnedRoomId {
        let room = NewRoom {
            creator: alice(),
            profile: Profile::default(),
            version: RoomVersionId::V11,
            preset: Preset::PrivateChat,
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
        self.rooms.create(&room).await.unwrap()
    }

    /// Writes memberships of remote users, as an append of their events does.
    async fn set(&self, room: &RoomId, members: &[(&str, Membership)]) {
        let members = members.iter().map(|(user, membership)| NewMembership {
            user_id: OwnedUserId::try_from(*user).unwrap(),
            membership: Some(membership.clone()),
            event_id: "$event".try_into().unwrap(),
            is_local: false,
            stripped_state: None,
        });
        let append = RoomAppend {
            room_id: Some(room.to_owned()),
            members: members.collect(),
            ..RoomAppend::default()
        };
        self.here
            .store
            .store
            .commit(append)
            .await
            .unwrap()
            .output
            .unwrap();
    }

    async fn say(&self, room: &RoomId, body: &str) {
        let draft = Draft {
            room_id: room.to_owned(),
            sender: alice(),
            kind: "m.room.message".into(),
            state_key: None,
            content: to_raw_value(&json!({"body": body})).unwrap(),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        self.rooms.send(draft).await.unwrap();
    }

    /// Waits until every commit was looked at and only so many destinations wait, for the clock.
    async fn settle(&self, waiting: usize) {
        for _ in 0..YIELDS_MAX {
            tokio::task::yield_now().await;
            let sleepers = self.here.clock.sleepers();
            if self.sender.is_caught_up() && self.sender.active() == waiting && sleepers >= waiting
            {
                return;
            }
        }
        panic!("the sender does not come to rest");
    }
}

/// The body of a transaction.
fn body(request: &Request<Bytes>) -> Value {
    serde_json::from_slice(request.body()).unwrap()
}

/// What was said in the transactions to a server, by transaction id; a repeated one counts once.
fn heard(network: &Network, server: &ServerName) -> Vec<String> {
    let mut transactions = BTreeMap::new();
    let mut order = Vec::new();
    for (name, request) in network.requests() {
        if name != server {
            continue;
        }
        let id = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let said = bodies(&body(&request));
        match transactions.get(&id) {
            Some(before) => assert_eq!(before, &said, "a transaction changed"),
            None => {
                transactions.insert(id.clone(), said);
                order.push(id);
            }
        }
    }
    order
        .iter()
        .flat_map(|id| transactions[id].clone())
        .collect()
}

fn bodies(transaction: &Value) -> Vec<String> {
    let pdus = transaction["pdus"].as_array().unwrap();
    assert!(pdus.len() <= 50);
    pdus.iter()
        .map(|pdu| {
            pdu["content"]["body"]
                .as_str()
                .unwrap_or("state")
                .to_owned()
        })
        .collect()
}

const PEER: &str = "@bob:peer.org";
fn peer() -> &'static ServerName {
    server_name!("peer.org")
}

#[tokio::test]
async fn a_server_gets_what_is_said_while_it_is_joined_and_nothing_else() {
    let world = World::start().await;
    accept(&world.here.network, peer());
    let room = world.room().await;
    world.say(&room, "before").await;
    world.set(&room, &[(PEER, Membership::Join)]).await;
    world.say(&room, "during").await;
    world.say(&room, "still").await;
    world.settle(0).await;
    world.set(&room, &[(PEER, Membership::Leave)]).await;
    world.say(&room, "after").await;
    world.settle(0).await;
    assert_eq!(heard(&world.here.network, peer()), ["during", "still"]);
}

#[tokio::test]
async fn the_event_that_ends_a_stay_is_owed() {
    let world = World::start().await;
    let room = world.room().await;
    world
        .set(
            &room,
            &[
                (PEER, Membership::Join),
                ("@eve:peer.org", Membership::Join),
            ],
        )
        .await;
    world.set(&room, &[(PEER, Membership::Leave)]).await;
    let store = &world.here.store.store;
    let stay = &store.stays_of(peer()).await.unwrap()[0];
    assert_eq!(stay.left_at, None, "one of its users is still there");
    world
        .set(&room, &[("@eve:peer.org", Membership::Ban)])
        .await;
    let stay = &store.stays_of(peer()).await.unwrap()[0];
    let end = stay.left_at.unwrap();
    assert!(stay.covers(end) && !stay.covers(end + 1) && !stay.covers(stay.joined_from));
}

#[tokio::test]
async fn a_name_that_ends_like_a_port_is_another_server() {
    let world = World::start().await;
    let room = world.room().await;
    world
        .set(
            &room,
            &[
                ("@bob:peer.org:8448", Membership::Join),
                ("@x:8448", Membership::Join),
            ],
        )
        .await;
    world.set(&room, &[("@x:8448", Membership::Leave)]).await;
    let stays = world.here.store.store.stays_in(&room).await.unwrap();
    let joined: Vec<&str> = stays
        .iter()
        .filter(|stay| stay.left_at.is_none())
        .map(|stay| stay.destination.as_str())
        .collect();
    assert_eq!(joined, ["peer.org:8448"]);
}

#[tokio::test]
async fn what_a_server_missed_is_sent_when_its_back_off_is_over() {
    let world = World::start().await;
    let room = world.room().await;
    world.set(&room, &[(PEER, Membership::Join)]).await;
    world.settle(0).await;
    world.say(&room, "one").await;
    world.settle(1).await;
    world.say(&room, "two").await;
    accept(&world.here.network, peer());
    assert_eq!(world.here.network.count(peer()), 1);
    world.here.clock.advance(Duration::from_secs(2));
    world.settle(0).await;
    assert_eq!(heard(&world.here.network, peer()), ["one", "two"]);
}

#[tokio::test]
async fn a_server_that_shows_life_is_tried_at_once() {
    let world = World::start().await;
    let room = world.room().await;
    world.set(&room, &[(PEER, Membership::Join)]).await;
    world.settle(0).await;
    world.say(&room, "one").await;
    world.settle(1).await;
    accept(&world.here.network, peer());
    world.sender.peer_is_alive(peer());
    world.settle(0).await;
    assert_eq!(heard(&world.here.network, peer()), ["one"]);
}

#[tokio::test]
async fn a_transaction_in_flight_survives_a_restart_under_its_identifier() {
    let world = World::start().await;
    let room = world.room().await;
    world.set(&room, &[(PEER, Membership::Join)]).await;
    world.settle(0).await;
    world.say(&room, "one").await;
    world.settle(1).await;
    let saved = world
        .here
        .store
        .store
        .destination(peer())
        .await
        .unwrap()
        .unwrap()
        .saved;
    assert_eq!(saved.failures, 1);
    let world = world.restart().await;
    accept(&world.here.network, peer());
    world.here.clock.advance(Duration::from_secs(2));
    world.settle(0).await;
    world.say(&room, "two").await;
    world.settle(0).await;
    let requests = world.here.network.requests();
    let paths: Vec<&str> = requests
        .iter()
        .map(|(_, request)| request.uri().path())
        .collect();
    assert_eq!(paths.len(), 3);
    assert_eq!(paths[0], paths[1]);
    assert_ne!(paths[1], paths[2]);
    assert_eq!(heard(&world.here.network, peer()), ["one", "two"]);
}

#[tokio::test]
async fn what_was_said_before_a_crash_is_sent_after_it() {
    let world = World::start().await;
    let room = world.room().await;
    world.set(&room, &[(PEER, Membership::Join)]).await;
    // Nobody was ever told: the sender stops before it looks.
    let World {
        mut here,
        rooms,
        drain,
        ..
    } = world;
    drain.begin();
    let draft = |body: &str| Draft {
        room_id: room.clone(),
        sender: alice(),
        kind: "m.room.message".into(),
        state_key: None,
        content: to_raw_value(&json!({"body": body})).unwrap(),
        redacts: None,
        transaction: None,
        timestamp_ms: None,
    };
    for index in 0..120 {
        rooms.send(draft(&index.to_string())).await.unwrap();
    }
    drop(rooms);
    here.store.reopen().await;
    accept(&here.network, peer());
    let drain = Drain::new();
    let (rooms, sender) = start(&here, &drain);
    let world = World {
        here,
        drain,
        rooms,
        sender,
    };
    world.settle(0).await;
    let expected: Vec<String> = (0..120).map(|index| index.to_string()).collect();
    assert_eq!(heard(&world.here.network, peer()), expected);
}

#[tokio::test]
async fn after_a_long_absence_only_the_newest_event_of_each_room_is_sent() {
    let world = World::start().await;
    let (first, second) = (world.room().await, world.room().await);
    for room in [&first, &second] {
        world.set(room, &[(PEER, Membership::Join)]).await;
    }
    world.settle(0).await;
    world.say(&first, "in flight").await;
    world.settle(1).await;
    for index in 0..60 {
        world.say(&first, &format!("first {index}")).await;
        world.say(&second, &format!("second {index}")).await;
    }
    world.here.clock.advance(Duration::from_secs(7200));
    world.settle(1).await;
    accept(&world.here.network, peer());
    world.sender.peer_is_alive(peer());
    world.settle(0).await;
    assert_eq!(
        heard(&world.here.network, peer()),
        ["in flight", "first 59", "second 59"]
    );
    world.say(&first, "live").await;
    world.settle(0).await;
    assert_eq!(heard(&world.here.network, peer()).last().unwrap(), "live");
}

#[tokio::test]
async fn one_item_that_is_refused_holds_back_no_other() {
    let world = World::start().await;
    let room = world.room().await;
    world.set(&room, &[(PEER, Membership::Join)]).await;
    world.settle(0).await;
    world.say(&room, "first").await;
    world.settle(1).await;
    for body in ["good", "bad", "fine"] {
        world.say(&room, body).await;
    }
    world.here.network.serve(peer(), |request| {
        if bodies(&body(request)).iter().any(|body| body == "bad") {
            answer(400, r#"{"errcode":"M_BAD_JSON"}"#)
        } else {
            answer(200, r#"{"pdus":{}}"#)
        }
    });
    for _ in 0..YIELDS_MAX {
        world.here.clock.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
        if world.sender.active() == 0 {
            break;
        }
    }
    world.settle(0).await;
    let accepted: Vec<String> = world
        .here
        .network
        .requests()
        .iter()
        .map(|(_, request)| bodies(&body(request)))
        .filter(|bodies| !bodies.contains(&"bad".to_owned()))
        .flatten()
        .collect();
    for body in ["first", "good", "fine"] {
        assert!(accepted.iter().any(|said| said == body), "{body} was lost");
    }
}

#[tokio::test]
async fn a_message_for_a_server_without_a_room_is_sent_and_then_deleted() {
    let world = World::start().await;
    let edu = NewEdu {
        destination: peer().to_owned(),
        body: json!({"edu_type": "m.direct_to_device", "content": {"a": 1}}).to_string(),
        expires_ms: None,
    };
    let expiring = NewEdu {
        body: json!({"edu_type": "m.direct_to_device", "content": {"secret": 1}}).to_string(),
        expires_ms: Some(world.here.clock.now_ms() + 1000),
        ..edu.clone()
    };
    let change = SendToDevice {
        transaction: None,
        local: Vec::new(),
        remote: vec![edu, expiring],
    };
    world.here.store.store.commit(change).await.unwrap();
    world.settle(1).await;
    accept(&world.here.network, peer());
    let first = world.here.network.requests();
    assert_eq!(body(&first[0].1)["edus"].as_array().unwrap().len(), 2);
    // What has expired while the transaction was in flight is not sent again.
    world.here.clock.advance(Duration::from_secs(2));
    world.settle(0).await;
    let requests = world.here.network.requests();
    assert_eq!(body(&requests[1].1)["edus"][0]["content"]["a"], 1);
    assert_eq!(body(&requests[1].1)["edus"].as_array().unwrap().len(), 1);
    assert!(!String::from_utf8_lossy(requests[1].1.body()).contains("secret"));
    let store = &world.here.store.store;
    assert_eq!(
        store.edus_for(peer(), 0, i64::MAX, 10, 0).await.unwrap(),
        []
    );
}

#[tokio::test]
async fn typing_reaches_those_who_are_there_and_is_kept_for_nobody() {
    let world = World::start().await;
    let room = world.room().await;
    world.set(&room, &[(PEER, Membership::Join)]).await;
    world.settle(0).await;
    world.sender.typing(&room, &alice(), true).await;
    world.settle(0).await;
    assert_eq!(world.here.network.count(peer()), 1);
    accept(&world.here.network, peer());
    world.sender.typing(&room, &alice(), true).await;
    world.settle(0).await;
    assert_eq!(world.here.network.count(peer()), 1, "it is left alone");
    let pause = Duration::from_secs(60);
    world.here.clock.advance(pause);
    world.sender.typing(&room, &alice(), false).await;
    world.settle(0).await;
    let requests = world.here.network.requests();
    assert_eq!(requests.len(), 2);
    let edu = &body(&requests[1].1)["edus"][0];
    assert_eq!(
        (edu["edu_type"].as_str(), edu["content"]["typing"].as_bool()),
        (Some("m.typing"), Some(false))
    );
}
