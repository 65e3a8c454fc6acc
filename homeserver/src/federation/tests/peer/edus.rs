//! EDUs of the user's own server, and forged ones.

use super::*;
use crate::{
    accounts::keys::KeyQuery,
    store::{ChangeRemoteDevices, READ, ReceiptRow, ReceiveToDevice, RemoteChange, SendToDevice},
};

#[tokio::test]
async fn nobody_types_for_others_or_where_he_is_not() {
    let world = World::start().await;
    let room = world.shared_room().await;
    let typing = |user: &UserId| json!({"room_id": room, "user_id": user, "typing": true});
    world
        .edu("1", "m.typing", typing(user_id!("@carol:third.org")))
        .await;
    world
        .edu("2", "m.typing", typing(user_id!("@eve:peer.org")))
        .await;
    assert_eq!(world.app.typing.since(&room, 0), None);
    world.edu("3", "m.typing", typing(bob())).await;
    assert_eq!(
        world.app.typing.since(&room, 0),
        Some(vec![bob().to_owned()])
    );
}

async fn receipts(world: &World, room: &OwnedRoomId, user: &UserId) -> Vec<ReceiptRow> {
    world.app.store.receipts_of(room, user).await.unwrap()
}

#[tokio::test]
async fn receipts_count_for_members_of_the_server_that_sends_them() {
    let world = World::start().await;
    let room = world.shared_room().await;
    let snapshot = world.app.rooms.snapshot(&room).await.unwrap().unwrap();
    let newest = snapshot.extremities[0].clone();
    let read = |user: &UserId, event: &str| json!({room.as_str(): {"m.read": {user.as_str(): {"data": {"ts": 5}, "event_ids": [event]}}}});
    let carol = user_id!("@carol:third.org");
    world
        .edu("1", "m.receipt", read(carol, newest.as_str()))
        .await;
    assert_eq!(receipts(&world, &room, carol).await, []);
    world.edu("2", "m.receipt", read(bob(), "$unknown")).await;
    assert_eq!(receipts(&world, &room, bob()).await, []);
    world
        .edu("3", "m.receipt", read(bob(), newest.as_str()))
        .await;
    let found = receipts(&world, &room, bob()).await;
    assert_eq!(
        (found.len(), found[0].event_id.clone(), found[0].ts),
        (1, newest, 5)
    );
    assert!(!found[0].private, "it is {READ}");
}

fn device(user: &UserId, device: &str) -> Value {
    json!({"user_id": user, "device_id": device, "algorithms": [], "keys": {}, "signatures": {}})
}

fn update(user: &UserId, id: &str, stream: i64, prev: &[i64]) -> Value {
    json!({"user_id": user, "device_id": id, "stream_id": stream, "prev_id": prev, "keys": device(user, id)})
}

impl World {
    /// Bob's devices, as a client of ours is told.
    async fn devices(&self) -> Vec<String> {
        let query = KeyQuery {
            users: [(bob().to_owned(), Vec::new())].into(),
            timeout: std::time::Duration::from_secs(10),
        };
        let answer = self.app.keys.query(Some(alice()), query).await.unwrap();
        let devices = answer.device_keys.get(bob());
        devices
            .map(|devices| devices.keys().map(ToString::to_string).collect())
            .unwrap_or_default()
    }

    /// Waits until the list of Bob's devices is known and misses nothing.
    async fn until_devices_are_known(&self) {
        let waiting = async {
            let known = async || self.app.store.remote_device_lists(&[bob()]).await.unwrap();
            while known().await.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, waiting).await.unwrap();
    }

    /// Lets the peer answer with a list of devices.
    fn publish(&self, stream: i64, devices: &'static [&'static str]) {
        self.network.serve(peer_name(), move |request| {
            assert!(request.uri().path().contains("/user/devices/"), "{}", request.uri());
            let devices = devices.iter().map(|id| json!({"device_id": id, "keys": device(bob(), id)}));
            let body = json!({"user_id": bob(), "stream_id": stream, "devices": devices.collect::<Vec<_>>()});
            answer(200, body.to_string())
        });
    }
}

#[tokio::test]
async fn a_device_list_is_fetched_once_and_then_follows_its_server() {
    let world = World::start().await;
    world.shared_room().await;
    // The peer's key is fetched while it still answers with it.
    world.edu("0", "m.presence", json!({"push": []})).await;
    world.publish(5, &["A"]);
    let before = world.network.count(peer_name());
    assert_eq!(world.devices().await, ["A"]);
    assert_eq!(world.devices().await, ["A"]);
    assert_eq!(world.network.count(peer_name()), before + 1);

    world
        .edu("1", "m.device_list_update", update(bob(), "B", 6, &[5]))
        .await;
    assert_eq!(world.devices().await, ["A", "B"]);
    assert_eq!(world.network.count(peer_name()), before + 1);
    assert_eq!(world.key_changes(bob()).await, 1);

    // A gap: the list is fetched anew, before anybody asks.
    world.publish(9, &["C"]);
    world
        .edu("2", "m.device_list_update", update(bob(), "C", 9, &[8]))
        .await;
    world.until_devices_are_known().await;
    assert_eq!(world.network.count(peer_name()), before + 2);
    assert_eq!(world.devices().await, ["C"]);
    assert_eq!(world.network.count(peer_name()), before + 2);
    // What is older than the list says nothing new, but a client may have an answer that is older still.
    world
        .edu("3", "m.device_list_update", update(bob(), "B", 6, &[5]))
        .await;
    assert_eq!(world.devices().await, ["C"]);
    assert_eq!(world.key_changes(bob()).await, 3);

    let gone = json!({"user_id": bob(), "device_id": "C", "stream_id": 10, "prev_id": [9], "deleted": true});
    world.edu("4", "m.device_list_update", gone).await;
    assert_eq!(world.devices().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_missed_change_is_made_up_for_by_a_query_where_the_server_gives_no_list() {
    let world = World::start().await;
    world.shared_room().await;
    world.edu("0", "m.presence", json!({"push": []})).await;
    world.network.serve(peer_name(), |request| {
        let is_query = request.uri().path().ends_with("/user/keys/query");
        let keys = json!({"device_keys": {bob().as_str(): {"C": device(bob(), "C")}}});
        match is_query {
            true => answer(200, keys.to_string()),
            false => answer(404, json!({"errcode": "M_UNRECOGNIZED"}).to_string()),
        }
    });
    world
        .edu("1", "m.device_list_update", update(bob(), "C", 9, &[8]))
        .await;
    world.until_devices_are_known().await;
    let before = world.network.count(peer_name());
    // From there on it follows its server again.
    world
        .edu("2", "m.device_list_update", update(bob(), "D", 10, &[9]))
        .await;
    assert_eq!(world.devices().await, ["C", "D"]);
    assert_eq!(world.network.count(peer_name()), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_list_that_changed_while_it_was_fetched_is_not_kept() {
    let world = World::start().await;
    world.shared_room().await;
    world.edu("0", "m.presence", json!({"push": []})).await;
    let store = Arc::clone(&world.app.store);
    world.network.serve(peer_name(), move |request| {
        assert!(
            request.uri().path().contains("/user/devices/"),
            "{}",
            request.uri()
        );
        // The news of a first device overtakes the list that lacks it.
        let news = ChangeRemoteDevices {
            user_id: bob().to_owned(),
            change: RemoteChange::Device {
                device_id: "B".into(),
                keys: Some(serde_json::value::to_raw_value(&device(bob(), "B")).unwrap()),
                stream_id: 1,
                prev_id: Vec::new(),
            },
        };
        let told = store.commit(news);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(told)).unwrap();
        let body = json!({"user_id": bob(), "stream_id": 0, "devices": []});
        answer(200, body.to_string())
    });
    assert_eq!(world.devices().await, Vec::<String>::new());
    assert_eq!(world.key_changes(bob()).await, 1);
    // Clients, who were told, ask again, and are not served what was old when it came.
    world.publish(1, &["B"]);
    assert_eq!(world.devices().await, ["B"]);
    let asked = world.network.count(peer_name());
    assert_eq!(world.devices().await, ["B"]);
    assert_eq!(world.network.count(peer_name()), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_list_is_not_kept_of_a_user_who_left_while_it_was_fetched() {
    let world = World::start().await;
    let room = world.shared_room().await;
    world.edu("0", "m.presence", json!({"push": []})).await;
    let store = Arc::clone(&world.app.store);
    world.network.serve(peer_name(), move |_| {
        let left = store.commit(bob_becomes(&room, Membership::Leave));
        let left = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(left));
        left.unwrap().output.unwrap();
        let devices = [json!({"device_id": "A", "keys": device(bob(), "A")})];
        let body = json!({"user_id": bob(), "stream_id": 5, "devices": devices});
        answer(200, body.to_string())
    });
    assert_eq!(world.devices().await, ["A"]);
    let known = world.app.store.remote_device_lists(&[bob()]).await;
    assert!(known.unwrap().is_empty());
}

#[tokio::test]
async fn a_list_is_forgotten_when_its_user_leaves() {
    let world = World::start().await;
    let room = world.shared_room().await;
    world.publish(5, &["A"]);
    assert_eq!(world.devices().await, ["A"]);
    world.set(&room, Membership::Leave).await;
    world.set(&room, Membership::Join).await;
    world.publish(7, &["B"]);
    assert_eq!(world.devices().await, ["B"]);
}

#[tokio::test]
async fn a_message_is_delivered_once_whatever_transaction_brings_it() {
    let world = World::start().await;
    let message = |sender: &UserId, id: &str| ReceiveToDevice {
        sender: sender.to_owned(),
        message_id: id.to_owned(),
        now_ms: 0,
        messages: SendToDevice {
            transaction: None,
            local: Vec::new(),
            remote: Vec::new(),
        },
    };
    for (sender, id, delivered) in [
        (bob(), "1", true),
        (bob(), "1", false),
        (bob(), "2", true),
        (user_id!("@eve:peer.org"), "1", true),
    ] {
        let committed = world.app.store.commit(message(sender, id)).await.unwrap();
        assert_eq!(committed.output, delivered, "{sender} {id}");
    }
}

#[tokio::test]
async fn nobody_changes_the_devices_of_another_servers_user() {
    let world = World::start().await;
    world.shared_room().await;
    world
        .edu(
            "1",
            "m.device_list_update",
            update(user_id!("@carol:third.org"), "X", 1, &[]),
        )
        .await;
    world
        .edu("2", "m.device_list_update", update(alice(), "X", 1, &[]))
        .await;
    world
        .edu("3", "m.signing_key_update", json!({"user_id": alice()}))
        .await;
    // Nor of users with whom we share no room.
    world
        .edu(
            "4",
            "m.device_list_update",
            update(user_id!("@eve:peer.org"), "X", 1, &[]),
        )
        .await;
    // Nor with keys that are another user's.
    let mut wrong = update(bob(), "X", 1, &[]);
    wrong["keys"] = device(alice(), "X");
    world.edu("5", "m.device_list_update", wrong).await;
    for user in [
        alice(),
        bob(),
        user_id!("@carol:third.org"),
        user_id!("@eve:peer.org"),
    ] {
        assert_eq!(world.key_changes(user).await, 0, "{user}");
    }
}

#[tokio::test]
async fn presence_is_believed_about_a_servers_own_users_with_whom_we_share_a_room() {
    for is_on in [true, false] {
        let world = World::with(|config| config.presence.enabled = is_on).await;
        world.shared_room().await;
        let push = json!({"push": [
            {"user_id": bob(), "presence": "online", "last_active_ago": 5},
            {"user_id": alice(), "presence": "online", "last_active_ago": 5},
            {"user_id": "@stranger:peer.org", "presence": "online", "last_active_ago": 5},
        ]});
        world.edu("1", "m.presence", push).await;
        let known = |user: &UserId| world.app.presence.of(user).is_some();
        assert_eq!(known(bob()), is_on);
        assert!(!known(alice()) && !known(ruma::user_id!("@stranger:peer.org")));
    }
}

#[tokio::test]
async fn a_room_key_for_many_devices_arrives_however_long_its_edu_is() {
    let world = World::start().await;
    let ann = world.ann().await;
    let (user, device) = ann.who().await;
    let nested =
        |levels: usize| -> Value { (0..levels).fold(json!(1), |inner, _| json!({ "a": inner })) };
    let mut devices = serde_json::Map::new();
    for n in 0..60 {
        devices.insert(format!("OTHER{n}"), json!({ "body": "x".repeat(2_000) }));
    }
    devices.insert(device.clone(), json!({ "body": "key" }));
    let message = |id: &str, messages: Value| {
        json!({
            "sender": bob(), "type": "m.room.encrypted", "message_id": id, "messages": messages,
        })
    };
    let long = message("1", json!({ user.as_str(): devices }));
    assert!(long.to_string().len() > 100_000);
    world.edu("1", "m.direct_to_device", long).await;
    // One that no client could be given keeps back no other, and none that is too long.
    let bad = json!({ user.as_str(): { device.as_str(): nested(105) } });
    world
        .edu("2", "m.direct_to_device", message("2", bad))
        .await;
    let bad = json!({ user.as_str(): { device.as_str(): { "a": "x".repeat(70_000) } } });
    world
        .edu("3", "m.direct_to_device", message("3", bad))
        .await;
    let good = json!({ user.as_str(): { "*": { "body": "all" }, "NOSUCH": nested(105) } });
    world
        .edu("4", "m.direct_to_device", message("4", good))
        .await;
    let user = UserId::parse(&user).unwrap();
    let waiting = world
        .app
        .store
        .to_device_of(&user, device.as_str().into(), 0, i64::MAX, 10, 0)
        .await
        .unwrap();
    let bodies: Vec<Value> = waiting
        .iter()
        .map(|message| {
            let event: Value = serde_json::from_str(message.event.get()).unwrap();
            event["content"]["body"].clone()
        })
        .collect();
    assert_eq!(bodies, ["key", "all"]);
}
