//! What one server tells another: spaces, events by their time, the end of an invite.

use std::collections::BTreeSet;

use ruma::api::federation::device::get_devices::v1 as get_devices;

use super::*;
use crate::rooms::{HierarchyQuery, Moment};

impl Server {
    async fn set_state(&self, room: &OwnedRoomId, kind: &str, state_key: &str, content: Value) {
        let draft = Draft {
            room_id: room.clone(),
            sender: alice(),
            kind: kind.into(),
            state_key: Some(state_key.to_owned()),
            content: to_raw_value(&content).unwrap(),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        self.app.rooms.send(draft).await.unwrap();
    }

    async fn space(&self, children: &[&OwnedRoomId]) -> OwnedRoomId {
        let new = NewRoom {
            creation_content: BTreeMap::from([("type".to_owned(), json!("m.space"))]),
            ..new_room(Preset::PublicChat, RoomVersionId::V11)
        };
        let space = self.app.rooms.create(&new).await.unwrap();
        for child in children {
            let via = json!({"via": ["one.example"]});
            self.set_state(&space, "m.space.child", child.as_str(), via)
                .await;
        }
        space
    }

    async fn invite_bob(&self, room: &OwnedRoomId) {
        let change = MembershipChange {
            room_id: room.clone(),
            sender: alice(),
            user: bob(),
            content: Profile::default().member("invite", false),
        };
        self.app.rooms.invite(change).await.unwrap();
    }

    /// The rooms that Bob sees of a space.
    async fn sees(&self, space: &OwnedRoomId) -> Vec<OwnedRoomId> {
        let query = HierarchyQuery::default();
        let page = self.app.rooms.hierarchy(&bob(), space, &query).await;
        let rooms = page.unwrap().rooms.into_iter();
        rooms.map(|room| room.summary.room_id).collect()
    }
}

#[tokio::test]
async fn rooms_of_another_server_are_seen_through_a_space_and_asked_for_once() {
    let Pair { one, two, wires } = pair().await;
    let open = one.create(Preset::PublicChat, RoomVersionId::V11).await;
    let closed = one.create(Preset::PrivateChat, RoomVersionId::V11).await;
    let inner = one.space(&[&open]).await;
    let space = one.space(&[&inner, &closed]).await;
    two.join(&space, &bob()).await.unwrap();
    let expected = vec![space.clone(), inner.clone(), open.clone()];
    assert_eq!(two.sees(&space).await, expected);
    // What was told is remembered.
    let gone = wires
        .0
        .lock()
        .unwrap()
        .remove(one.app.config.server_name.as_str());
    assert!(gone.is_some());
    assert_eq!(two.sees(&space).await, expected);
}

#[tokio::test]
async fn a_server_is_told_of_the_children_that_it_could_enter() {
    // The other server lives as long as its folder.
    let Pair { one, two: _two, .. } = pair().await;
    let open = one.create(Preset::PublicChat, RoomVersionId::V11).await;
    let closed = one.create(Preset::PrivateChat, RoomVersionId::V11).await;
    let invited = one.create(Preset::PrivateChat, RoomVersionId::V11).await;
    one.invite_bob(&invited).await;
    let space = one.space(&[&open, &closed, &invited]).await;
    let two: OwnedServerName = "two.example".try_into().unwrap();
    let told = one.app.rooms.space_for(&two, &space, false).await.unwrap();
    let told = told.unwrap();
    let children = told.children.iter().map(|child| &child.summary.room_id);
    let children: BTreeSet<_> = children.collect();
    assert_eq!(children, BTreeSet::from([&open, &invited]));
    assert_eq!(told.inaccessible_children, std::slice::from_ref(&closed));
    let hidden = one.app.rooms.space_for(&two, &closed, false).await.unwrap();
    assert!(hidden.is_none());
    let acl = json!({"allow": ["*"], "deny": ["two.example"]});
    one.set_state(&space, "m.room.server_acl", "", acl).await;
    let denied = one.app.rooms.space_for(&two, &space, false).await.unwrap();
    assert!(denied.is_none());
}

#[tokio::test]
async fn an_event_before_the_join_is_found_by_its_time_with_a_peers_help() {
    let (wires, clock) = (Wires::default(), MockClock::new(MockClock::START_MS));
    let one = server("one.example", &wires, &clock, 1).await;
    let two = server("two.example", &wires, &clock, 2).await;
    let room = one.create(Preset::PublicChat, RoomVersionId::V12).await;
    let said = one.say(&room, alice(), "long ago").await;
    clock.advance(std::time::Duration::from_secs(3600));
    two.join(&room, &bob()).await.unwrap();
    assert!(two.bodies(&room).await.is_empty());
    let snapshot = two.app.rooms.snapshot(&room).await.unwrap().unwrap();
    let ts = said["origin_server_ts"].as_u64().unwrap();
    let moment = Moment {
        ts: ruma::MilliSecondsSinceUnixEpoch(ts.try_into().unwrap()),
        direction: ruma::api::Direction::Backward,
    };
    let found = two.app.rooms.closest_to(&bob(), &snapshot, moment).await;
    let found = found.unwrap().unwrap();
    assert!(found.room_order.is_some());
    assert_eq!(two.bodies(&room).await, ["long ago"]);
}

#[tokio::test]
async fn a_server_that_never_joined_is_owed_the_end_of_its_invite() {
    for (membership, is_owed) in [("leave", true), ("ban", true), ("invite", false)] {
        // The other server lives as long as its folder.
        let Pair { one, two: _two, .. } = pair().await;
        let room = one.create(Preset::PrivateChat, RoomVersionId::V12).await;
        one.invite_bob(&room).await;
        let change = MembershipChange {
            room_id: room.clone(),
            sender: alice(),
            user: bob(),
            content: json!({"membership": membership, "reason": "a mistake"}),
        };
        one.app.rooms.set_membership(change).await.unwrap();
        let two: OwnedServerName = "two.example".try_into().unwrap();
        let owed = one.app.store.events_owed_alone(&two, 0, i64::MAX, 10);
        let (owed, _) = owed.await.unwrap();
        let owed: Vec<_> = owed.into_iter().map(|(_, id)| id).collect();
        let expected = if is_owed {
            vec![event_id(&one, &room).await]
        } else {
            Vec::new()
        };
        assert_eq!(owed, expected, "{membership}");
    }
}

#[tokio::test]
async fn a_server_in_the_room_is_owed_an_end_once() {
    let Pair { one, two, .. } = pair().await;
    let room = one.create(Preset::PublicChat, RoomVersionId::V12).await;
    two.join(&room, &bob()).await.unwrap();
    let change = MembershipChange {
        room_id: room.clone(),
        sender: alice(),
        user: user("@carol:two.example"),
        content: json!({"membership": "ban"}),
    };
    one.app.rooms.set_membership(change).await.unwrap();
    let two: OwnedServerName = "two.example".try_into().unwrap();
    let owed = one.app.store.events_owed_alone(&two, 0, i64::MAX, 10);
    assert!(owed.await.unwrap().0.is_empty());
}

#[tokio::test]
async fn the_end_of_an_invite_is_sent_to_the_server_that_never_joined() {
    // The other server lives as long as its folder.
    let Pair {
        one,
        two: _two,
        wires,
    } = pair().await;
    let room = one.create(Preset::PrivateChat, RoomVersionId::V12).await;
    one.invite_bob(&room).await;
    let sent: Arc<Mutex<Vec<Value>>> = Arc::default();
    let notes = Arc::clone(&sent);
    let take = async move |body: Bytes| {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let pdus = body["pdus"].as_array().cloned().unwrap_or_default();
        notes.lock().unwrap().extend(pdus);
        "{\"pdus\":{}}"
    };
    let router = Router::new().route(
        "/_matrix/federation/v1/send/{transaction_id}",
        axum::routing::put(take),
    );
    let two: OwnedServerName = "two.example".try_into().unwrap();
    wires.0.lock().unwrap().insert(two, router);
    // What is said in the room is nothing to a server that is not in it.
    one.say(&room, alice(), "among us").await;
    let change = MembershipChange {
        room_id: room.clone(),
        sender: alice(),
        user: bob(),
        content: json!({"membership": "leave"}),
    };
    one.app.rooms.set_membership(change).await.unwrap();
    while sent.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["state_key"], json!(bob()));
    assert_eq!(sent[0]["content"]["membership"], "leave");
}

#[tokio::test]
async fn the_devices_of_a_user_are_told_to_the_server_through_which_they_are_just_joining() {
    // Where profiles are public, the devices are told to anybody.
    let Pair { one, two, wires } = pair_with_bare(|config| config.profiles.public = false).await;
    let room = one.create(Preset::PublicChat, RoomVersionId::V11).await;
    let answers: Arc<Mutex<Vec<bool>>> = Arc::default();
    let inner = router::federation(&one.app);
    let (app, notes) = (one.app.clone(), Arc::clone(&answers));
    let curious = async move |request: Request<Body>| {
        let is_join = request.uri().path().contains("/send_join/");
        let response = inner.clone().oneshot(request).await.unwrap();
        if is_join {
            let (app, notes) = (app.clone(), Arc::clone(&notes));
            tokio::spawn(async move {
                let two: OwnedServerName = "two.example".try_into().unwrap();
                let question = get_devices::Request::new(bob());
                let answer = app.remote.call(&two, question, Bounds::INTERACTIVE).await;
                notes.lock().unwrap().push(answer.is_ok());
            });
            // The question comes before the answer: the other server does not know yet that it is in the room.
            for _ in 0..10_000 {
                tokio::task::yield_now().await;
            }
        }
        response
    };
    let name = one.app.config.server_name.clone();
    let router = Router::new().fallback(curious);
    wires.0.lock().unwrap().insert(name, router);
    two.join(&room, &bob()).await.unwrap();
    while answers.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*answers.lock().unwrap(), [true]);
    // The control: of somebody who is joining nothing, nothing is told.
    let question = get_devices::Request::new(user("@carol:two.example"));
    let two: OwnedServerName = "two.example".try_into().unwrap();
    let answer = one.app.remote.call(&two, question, Bounds::INTERACTIVE);
    assert!(answer.await.is_err());
}
