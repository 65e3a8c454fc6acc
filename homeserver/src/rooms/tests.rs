//! Rooms on a real database: creating, sending, repeating, restarting.

use std::sync::Arc;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId, events::StateEventType};
use serde_json::{json, value::to_raw_value};
use tempfile::TempDir;

use super::*;
use crate::{
    app::{App, Foundation},
    clock::{MockClock, SeededRng},
    config::Config,
    key_files,
    outbound::testing::{Network, key_pair},
    store::{Direction, Membership, testing},
};

struct World {
    folder: TempDir,
    rooms: Arc<Rooms>,
}

async fn rooms_in(folder: &TempDir) -> Arc<Rooms> {
    let store = testing::open_in(folder.path()).await;
    let server_name: OwnedServerName = "one.example".try_into().unwrap();
    let config = Config::for_test(server_name.clone(), folder.path().into());
    if !config.token_key_path().exists() {
        key_files::create(&config.token_key_path(), &SeededRng::new(8)).unwrap();
    }
    let app = App::new(Foundation {
        clock: Arc::new(MockClock::new(MockClock::START_MS)),
        rng: Arc::new(SeededRng::new(7)),
        config: Arc::new(config.clone()),
        store,
        token_key: key_files::load_token_key(&config.token_key_path()).unwrap(),
        signing_key: key_pair("1"),
        retired_keys: Vec::new(),
        transport: Arc::new(Network::default()),
        drain: crate::drain::Drain::new(),
    });
    Arc::clone(&app.rooms)
}

async fn world() -> World {
    let folder = TempDir::new().unwrap();
    World {
        rooms: rooms_in(&folder).await,
        folder,
    }
}

fn alice() -> OwnedUserId {
    "@alice:one.example".try_into().unwrap()
}

fn new_room(version: RoomVersionId) -> NewRoom {
    NewRoom {
        creator: alice(),
        profile: Profile {
            displayname: Some("Alice".to_owned()),
            avatar_url: None,
        },
        version,
        preset: Preset::PrivateChat,
        creation_content: Default::default(),
        power_levels: Default::default(),
        initial_state: Vec::new(),
        name: Some("Newsroom".to_owned()),
        topic: None,
        alias: None,
        invite: vec![("@bob:one.example".try_into().unwrap(), Profile::default())],
        invite_remote: Vec::new(),
        is_direct: false,
    }
}

fn message(room: &OwnedRoomId, body: &str, key: Option<&str>) -> Draft {
    Draft {
        room_id: room.clone(),
        sender: alice(),
        kind: "m.room.message".into(),
        state_key: None,
        content: to_raw_value(&json!({ "body": body, "msgtype": "m.text" })).unwrap(),
        redacts: None,
        transaction: key.map(|key| Transaction {
            device_id: "A".to_owned(),
            key: key.to_owned(),
        }),
        timestamp_ms: None,
    }
}

async fn bodies(rooms: &Rooms, room: &OwnedRoomId) -> Vec<String> {
    let events = rooms
        .context
        .store
        .timeline(room, 0, Direction::Forward, 1000)
        .await
        .unwrap();
    events
        .iter()
        .filter_map(|event| {
            let content: serde_json::Value = serde_json::from_str(event.pdu.content.get()).ok()?;
            content["body"].as_str().map(str::to_owned)
        })
        .collect()
}

#[tokio::test]
async fn rooms_of_every_supported_version_survive_a_restart() {
    for version in passeur_protocol::versions::supported() {
        let version = version.id.clone();
        let World { folder, rooms } = world().await;
        let room = rooms.create(&new_room(version.clone())).await.unwrap();
        assert_eq!(version == RoomVersionId::V12, room.server_name().is_none());
        rooms.send(message(&room, "hello", None)).await.unwrap();
        let before = rooms.snapshot(&room).await.unwrap().unwrap();
        rooms.context.store.close().await;

        let rooms = rooms_in(&folder).await;
        let after = rooms.snapshot(&room).await.unwrap().unwrap();
        assert_eq!(before.row, after.row);
        assert!(before.state == after.state);
        assert_eq!(before.members.by_user, after.members.by_user);
        assert_eq!(after.members.membership(&alice()), Membership::Join);
        assert_eq!(after.members.invited, 1);
        assert_eq!(bodies(&rooms, &room).await, ["hello"]);
        let name = rooms
            .state_event(&after, &StateEventType::RoomName, "")
            .await
            .unwrap();
        assert!(name.unwrap().pdu.content.get().contains("Newsroom"));
    }
}

#[tokio::test]
async fn sends_at_once_become_one_line_without_gap() {
    let World {
        rooms,
        folder: _folder,
    } = world().await;
    let room = rooms.create(&new_room(RoomVersionId::V12)).await.unwrap();
    let start = rooms.snapshot(&room).await.unwrap().unwrap().order_max;
    let sends = (0..100).map(|n| {
        let (rooms, room) = (Arc::clone(&rooms), room.clone());
        tokio::spawn(async move { rooms.send(message(&room, &n.to_string(), None)).await })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.unwrap().unwrap();
    }
    let snapshot = rooms.snapshot(&room).await.unwrap().unwrap();
    assert_eq!(snapshot.order_max, start + 100);
    assert_eq!(snapshot.extremities.len(), 1);
    assert_eq!(bodies(&rooms, &room).await.len(), 100);
}

#[tokio::test]
async fn repeated_transaction_returns_the_same_event_after_a_restart_too() {
    let World { folder, rooms } = world().await;
    let room = rooms.create(&new_room(RoomVersionId::V11)).await.unwrap();
    let first = rooms
        .send(message(&room, "once", Some("t1")))
        .await
        .unwrap();
    assert_eq!(
        rooms
            .send(message(&room, "once", Some("t1")))
            .await
            .unwrap(),
        first
    );
    rooms.context.store.close().await;
    let rooms = rooms_in(&folder).await;
    assert_eq!(
        rooms
            .send(message(&room, "once", Some("t1")))
            .await
            .unwrap(),
        first
    );
    let other = rooms
        .send(message(&room, "twice", Some("t2")))
        .await
        .unwrap();
    assert_ne!(other, first);
    assert_eq!(bodies(&rooms, &room).await, ["once", "twice"]);
}

#[tokio::test]
async fn a_redaction_destroys_the_body_and_keeps_the_skeleton() {
    let World { folder, rooms } = world().await;
    let room = rooms.create(&new_room(RoomVersionId::V12)).await.unwrap();
    let target: OwnedEventId = rooms.send(message(&room, "secret", None)).await.unwrap();
    let redaction = Draft {
        kind: "m.room.redaction".into(),
        content: to_raw_value(&json!({})).unwrap(),
        redacts: Some(target.clone()),
        ..message(&room, "", None)
    };
    let redaction = rooms.send(redaction).await.unwrap();
    for rooms in [rooms, rooms_in(&folder).await] {
        let event = rooms.context.store.event(&target).await.unwrap().unwrap();
        assert_eq!(event.redacted_by.as_deref(), Some(&*redaction));
        assert!(!event.has_body());
        assert_eq!(event.pdu.content.get(), "{}");
    }
}

#[tokio::test]
async fn outsiders_are_refused_and_nothing_is_stored() {
    let World {
        rooms,
        folder: _folder,
    } = world().await;
    let room = rooms.create(&new_room(RoomVersionId::V12)).await.unwrap();
    let before = rooms.snapshot(&room).await.unwrap().unwrap();
    let draft = Draft {
        sender: "@mallory:one.example".try_into().unwrap(),
        ..message(&room, "hi", None)
    };
    assert!(matches!(
        rooms.send(draft).await,
        Err(SendError::Forbidden(_))
    ));
    let unknown: OwnedRoomId = "!nowhere:one.example".try_into().unwrap();
    assert!(matches!(
        rooms.send(message(&unknown, "hi", None)).await,
        Err(SendError::UnknownRoom)
    ));
    let large = "x".repeat(70_000);
    assert!(matches!(
        rooms.send(message(&room, &large, None)).await,
        Err(SendError::TooLarge)
    ));
    assert_eq!(
        rooms.snapshot(&room).await.unwrap().unwrap().row,
        before.row
    );
}

#[tokio::test]
async fn rooms_of_the_same_creator_at_the_same_time_are_different_rooms() {
    let World {
        rooms,
        folder: _folder,
    } = world().await;
    let new = new_room(RoomVersionId::V12);
    let mut made = std::collections::BTreeSet::new();
    for n in 0..7 {
        if n > 4 {
            // As after a restart within the same millisecond: nothing is remembered.
            let forgotten = std::sync::atomic::Ordering::Relaxed;
            rooms.created_ms.store(i64::MIN, forgotten);
        }
        made.insert(rooms.create(&new).await.unwrap());
    }
    assert_eq!(made.len(), 7);
    for room in &made {
        let snapshot = rooms.snapshot(room).await.unwrap().unwrap();
        assert!(snapshot.members.is_joined(&alice()));
    }
}

#[tokio::test]
async fn a_room_whose_alias_is_taken_is_not_created() {
    let World {
        rooms,
        folder: _folder,
    } = world().await;
    let alias: ruma::OwnedRoomAliasId = "#desk:one.example".try_into().unwrap();
    let new = NewRoom {
        alias: Some(alias.clone()),
        ..new_room(RoomVersionId::V12)
    };
    let first = rooms.create(&new).await.unwrap();
    assert!(matches!(
        rooms.create(&new).await,
        Err(CreateError::AliasTaken)
    ));
    let store = &rooms.context.store;
    assert_eq!(store.room_of_alias(&alias).await.unwrap(), Some(first));
    assert_eq!(rooms.memberships(&alice()).await.unwrap().len(), 1);
}
