//! Knocking and restricted joins across servers.

use super::*;

/// Sets a place of a room's state as Alice.
async fn set(server: &Server, room: &OwnedRoomId, kind: &str, key: &str, content: Value) {
    let draft = Draft {
        room_id: room.clone(),
        sender: alice(),
        kind: kind.into(),
        state_key: Some(key.to_owned()),
        content: to_raw_value(&content).unwrap(),
        redacts: None,
        transaction: None,
        timestamp_ms: None,
    };
    server.app.rooms.send(draft).await.unwrap();
}

impl Server {
    /// An event as it goes to other servers.
    async fn pdu(&self, id: &ruma::EventId) -> Value {
        let event = self.app.store.event(id).await.unwrap().unwrap();
        serde_json::from_slice(&projection::federation_event(&event, 0)).unwrap()
    }
}

impl Pair {
    async fn knock(&self, room: &OwnedRoomId) -> Result<(), JoinError> {
        let via = vec!["one.example".try_into().unwrap()];
        self.two
            .app
            .rooms
            .knock(room, &bob(), Some("hello"), via)
            .await
    }

    async fn both(&self, room: &OwnedRoomId, expected: Membership) {
        assert_eq!(self.one.membership(room, &bob()).await, expected);
        assert_eq!(self.two.membership(room, &bob()).await, expected);
    }

    /// A room of Alice that members of another of her rooms may join.
    async fn restricted(&self, version: RoomVersionId) -> (OwnedRoomId, OwnedRoomId) {
        let parent = self
            .one
            .create(Preset::PublicChat, RoomVersionId::V12)
            .await;
        let room = self.one.create(Preset::PrivateChat, version).await;
        let rules = json!({
            "join_rule": "restricted",
            "allow": [{"type": "m.room_membership", "room_id": parent}],
        });
        set(&self.one, &room, "m.room.join_rules", "", rules).await;
        (parent, room)
    }
}

#[tokio::test]
async fn a_knock_goes_to_the_room_and_what_the_room_shows_comes_back() {
    for version in [RoomVersionId::V7, RoomVersionId::V11, RoomVersionId::V12] {
        let pair = pair().await;
        let room = pair.one.create(Preset::PrivateChat, version).await;
        assert!(pair.knock(&room).await.is_err());
        set(
            &pair.one,
            &room,
            "m.room.join_rules",
            "",
            json!({"join_rule": "knock"}),
        )
        .await;
        pair.knock(&room).await.unwrap();
        pair.both(&room, Membership::Knock).await;
        let rooms = pair.two.app.rooms.memberships(&bob()).await.unwrap();
        let shown = rooms[&room].stripped_state.clone().unwrap();
        assert!(
            shown.contains("Newsroom") && shown.contains("m.room.create"),
            "{shown}"
        );
        // Taken back.
        pair.two.app.rooms.leave(&room, &bob(), None).await.unwrap();
        pair.both(&room, Membership::Leave).await;
        // Accepted.
        pair.knock(&room).await.unwrap();
        let change = MembershipChange {
            room_id: room.clone(),
            sender: alice(),
            user: bob(),
            content: json!({"membership": "invite"}),
        };
        pair.one.app.rooms.invite(change).await.unwrap();
        pair.both(&room, Membership::Invite).await;
        pair.two.join(&room, &bob()).await.unwrap();
        pair.both(&room, Membership::Join).await;
    }
}

#[tokio::test]
async fn the_end_of_an_invite_or_a_knock_is_taken_from_the_room_s_server_alone() {
    for is_knock in [true, false] {
        let pair = pair().await;
        let room = pair
            .one
            .create(Preset::PrivateChat, RoomVersionId::V12)
            .await;
        let change = |membership: &str| MembershipChange {
            room_id: room.clone(),
            sender: alice(),
            user: bob(),
            content: json!({ "membership": membership }),
        };
        if is_knock {
            set(
                &pair.one,
                &room,
                "m.room.join_rules",
                "",
                json!({"join_rule": "knock"}),
            )
            .await;
            pair.knock(&room).await.unwrap();
        } else {
            pair.one.app.rooms.invite(change("invite")).await.unwrap();
        }
        // Somebody else's word ends nothing.
        let id = pair
            .one
            .app
            .rooms
            .set_membership(change("leave"))
            .await
            .unwrap();
        let leave = pair.one.pdu(&id).await;
        let mut forged = leave.clone();
        forged["origin_server_ts"] = json!(1);
        assert!(!pair.two.receive(&room, &forged).await);
        let stranger: OwnedServerName = "three.example".try_into().unwrap();
        let pdu = to_raw_value(&leave).unwrap();
        assert!(
            pair.two
                .app
                .rooms
                .receive(&stranger, &room, &pdu)
                .await
                .is_err()
        );
        // The room's server sends it too, and may have been the first.
        let _ = pair.two.receive(&room, &leave).await;
        pair.both(&room, Membership::Leave).await;
    }
}

#[tokio::test]
async fn a_restricted_room_is_joined_from_elsewhere_by_those_who_meet_a_condition() {
    for version in [RoomVersionId::V8, RoomVersionId::V9, RoomVersionId::V12] {
        let pair = pair().await;
        let (parent, room) = pair.restricted(version).await;
        let refused = pair.two.join(&room, &bob()).await;
        assert_eq!(errcode(&refused), Some("M_FORBIDDEN"));
        pair.two.join(&parent, &bob()).await.unwrap();
        pair.two.join(&room, &bob()).await.unwrap();
        pair.both(&room, Membership::Join).await;
        // The event bears both signatures, on both sides, and goes on from there.
        for server in [&pair.one, &pair.two] {
            let snapshot = server.app.rooms.snapshot(&room).await.unwrap().unwrap();
            let member = &snapshot.members.by_user[&bob()];
            let pdu = server.pdu(&member.event_id).await;
            let signed = pdu["signatures"].as_object().unwrap();
            assert!(signed.contains_key("one.example") && signed.contains_key("two.example"));
            assert_eq!(
                pdu["content"]["join_authorised_via_users_server"],
                alice().as_str()
            );
        }
        let said = pair.two.say(&room, bob(), "hello").await;
        let origin: OwnedServerName = "two.example".try_into().unwrap();
        let pdu = to_raw_value(&said).unwrap();
        pair.one
            .app
            .rooms
            .receive(&origin, &room, &pdu)
            .await
            .unwrap();
        assert_eq!(pair.one.bodies(&room).await, ["hello"]);
    }
}

#[tokio::test]
async fn a_server_that_cannot_see_or_grant_says_so() {
    let pair = pair().await;
    let (parent, room) = pair.restricted(RoomVersionId::V12).await;
    pair.two.join(&parent, &bob()).await.unwrap();
    // Alice may not invite, so that nobody here can let anybody in.
    let nobody = json!({"invite": 100, "users": {}, "users_default": 0});
    let carol = user("@carol:one.example");
    let old = pair
        .one
        .create(Preset::PublicChat, RoomVersionId::V11)
        .await;
    let rules = json!({
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": parent}],
    });
    set(&pair.one, &old, "m.room.join_rules", "", rules).await;
    set(&pair.one, &old, "m.room.power_levels", "", nobody).await;
    let refused = pair.two.join(&old, &bob()).await;
    assert_eq!(errcode(&refused), Some("M_UNABLE_TO_GRANT_JOIN"));
    // A condition in a room that this server is not in: only others can see it.
    let elsewhere = json!({
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": "!elsewhere:three.example"}],
    });
    set(&pair.one, &room, "m.room.join_rules", "", elsewhere).await;
    let refused = pair.two.join(&room, &bob()).await;
    assert_eq!(errcode(&refused), Some("M_UNABLE_TO_AUTHORISE_JOIN"));
    // Of its own people this server knows all rooms.
    let refused = pair
        .one
        .app
        .rooms
        .join(&room, &carol, None, Vec::new())
        .await;
    assert!(
        matches!(refused, Err(JoinError::Send(SendError::Forbidden(_)))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn whoever_cannot_be_let_in_here_is_let_in_by_another_server_of_the_room() {
    let pair = pair().await;
    let (parent, room) = pair.restricted(RoomVersionId::V12).await;
    pair.two.join(&parent, &bob()).await.unwrap();
    pair.two.join(&room, &bob()).await.unwrap();
    // Bob's server is in the room now, where only Alice may invite.
    set(
        &pair.one,
        &room,
        "m.room.power_levels",
        "",
        json!({"invite": 50}),
    )
    .await;
    let levels = pair.one.app.rooms.snapshot(&room).await.unwrap().unwrap();
    let levels = levels
        .state_id(&"m.room.power_levels".into(), "")
        .unwrap()
        .to_owned();
    let levels = pair.one.pdu(&levels).await;
    assert!(pair.two.receive(&room, &levels).await);
    let dave = user("@dave:two.example");
    pair.two.join(&parent, &dave).await.unwrap();
    // The first server hears of it as of any event.
    let snapshot = pair.two.app.rooms.snapshot(&parent).await.unwrap().unwrap();
    let joined = pair
        .two
        .pdu(&snapshot.members.by_user[&dave].event_id)
        .await;
    let origin: OwnedServerName = "two.example".try_into().unwrap();
    let joined = to_raw_value(&joined).unwrap();
    let rooms = &pair.one.app.rooms;
    rooms.receive(&origin, &parent, &joined).await.unwrap();
    pair.two.join(&room, &dave).await.unwrap();
    for server in [&pair.one, &pair.two] {
        assert_eq!(server.membership(&room, &dave).await, Membership::Join);
    }
}

fn errcode(outcome: &Result<(), JoinError>) -> Option<&str> {
    match outcome {
        Err(JoinError::NoServer(Some(error))) => error.errcode(),
        _ => None,
    }
}

#[tokio::test]
async fn a_new_name_in_a_restricted_room_needs_nobody_who_vouches() {
    let pair = pair().await;
    let (parent, room) = pair.restricted(RoomVersionId::V12).await;
    pair.two.join(&parent, &bob()).await.unwrap();
    pair.two.join(&room, &bob()).await.unwrap();
    let named = Profile {
        displayname: Some("Bob".to_owned()),
        avatar_url: None,
    };
    let rooms = &pair.two.app.rooms;
    rooms.update_profile(&bob(), &named).await.unwrap();
    let snapshot = rooms.snapshot(&room).await.unwrap().unwrap();
    let renamed = pair
        .two
        .pdu(&snapshot.members.by_user[&bob()].event_id)
        .await;
    assert_eq!(renamed["content"]["displayname"], "Bob");
    let origin: OwnedServerName = "two.example".try_into().unwrap();
    let pdu = to_raw_value(&renamed).unwrap();
    pair.one
        .app
        .rooms
        .receive(&origin, &room, &pdu)
        .await
        .unwrap();
    let theirs = pair.one.app.rooms.snapshot(&room).await.unwrap().unwrap();
    assert_eq!(
        theirs.members.by_user[&bob()].event_id,
        snapshot.members.by_user[&bob()].event_id
    );
    // The control: with the name of the one who vouched, the event lacks a signature.
    let change = MembershipChange {
        room_id: room.clone(),
        sender: bob(),
        user: bob(),
        content: json!({"membership": "join", "join_authorised_via_users_server": alice()}),
    };
    let unsigned = rooms.set_membership(change).await.unwrap();
    let pdu = to_raw_value(&pair.two.pdu(&unsigned).await).unwrap();
    assert!(
        pair.one
            .app
            .rooms
            .receive(&origin, &room, &pdu)
            .await
            .is_err()
    );
}
