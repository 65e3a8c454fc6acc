//! What another server is told of the devices of our people.

use super::{asking::Ann, *};

/// The identity keys of a device, signed by it.
fn keys_of(user: &str, device: &str) -> Value {
    let signing = key_pair(device);
    let key: ruma::serde::Base64 = ruma::serde::Base64::new(signing.public_key().to_vec());
    let (curve, ed) = (format!("curve25519:{device}"), format!("ed25519:{device}"));
    let keys = json!({
        "user_id": user, "device_id": device,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {curve: key, ed: key},
    });
    let mut keys: ruma::CanonicalJsonObject = serde_json::from_value(keys).unwrap();
    ruma::signatures::sign_json(user, &*signing, &mut keys).unwrap();
    json!({ "device_keys": keys })
}

impl World {
    /// The EDUs about devices that the peer was sent so far.
    fn told(&self) -> Vec<Value> {
        let requests = self.network.requests().into_iter();
        let sent = requests.filter(|(server, request)| {
            server == peer_name() && request.uri().path().contains("/send/")
        });
        let transactions = sent.map(|(_, request)| {
            let body: Value = serde_json::from_slice(request.body()).unwrap();
            body["edus"].as_array().cloned().unwrap_or_default()
        });
        let about = |edu: &Value| edu["edu_type"] == "m.device_list_update";
        transactions
            .flatten()
            .filter(about)
            .map(|edu| edu["content"].clone())
            .collect()
    }

    /// Alice's event.
    async fn post(
        &self,
        room: &OwnedRoomId,
        kind: &str,
        state_key: Option<String>,
        content: Value,
    ) {
        let draft = Draft {
            room_id: room.clone(),
            sender: alice().to_owned(),
            kind: kind.into(),
            state_key,
            content: serde_json::value::to_raw_value(&content).unwrap(),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        self.app.rooms.send(draft).await.unwrap();
    }

    /// Waits until the peer was sent an event of a type with a state key.
    async fn until_sent(&self, kind: &str, part: &str) {
        let is_sent = || {
            self.network.requests().iter().any(|(server, request)| {
                let body = String::from_utf8_lossy(request.body());
                server == peer_name() && body.contains(kind) && body.contains(part)
            })
        };
        let waiting = async {
            while !is_sent() {
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, waiting).await.unwrap();
    }
}

impl Ann<'_> {
    /// Who she is and with which device.
    pub(super) async fn who(&self) -> (String, String) {
        let (_, who) = self.call("GET", "/account/whoami", Value::Null).await;
        let text = |key: &str| who[key].as_str().unwrap().to_owned();
        (text("user_id"), text("device_id"))
    }
}

#[tokio::test]
async fn a_server_hears_of_the_devices_of_those_who_join_and_not_at_every_new_name() {
    let world = World::start().await;
    let room = world.shared_room().await;
    let open = json!({"join_rule": "public"});
    world
        .post(&room, "m.room.join_rules", Some(String::new()), open)
        .await;
    world.network.serve(peer_name(), |_| {
        answer(200, json!({"pdus": {}}).to_string())
    });
    let ann = world.ann().await;
    let (user, device) = ann.who().await;
    let uploaded = ann
        .call("POST", "/keys/upload", keys_of(&user, &device))
        .await;
    assert_eq!(uploaded.0, 200, "{}", uploaded.1);
    // A second device, without keys: nobody who shares a room is to be told of it yet.
    let again = json!({
        "type": "m.login.password", "password": "quetzal feathers",
        "identifier": {"type": "m.id.user", "user": "ann"},
    });
    let bare = ann.call("POST", "/login", again).await.1;
    let bare = bare["device_id"].as_str().unwrap().to_owned();
    assert_eq!(world.told(), Vec::<Value>::new());
    // What the server has heard since lies behind the keys: they are no news to be sent for their own sake.
    world
        .post(&room, "m.room.message", None, json!({"body": "before"}))
        .await;
    world.until_sent("m.room.message", "before").await;
    let joined = ann.call("POST", &format!("/join/{room}"), json!({})).await;
    assert_eq!(joined.0, 200, "{}", joined.1);
    world.until_sent("m.device_list_update", &device).await;
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["user_id"], &told[0]["device_id"]),
        (&json!(user), &json!(device))
    );
    assert_eq!(told[0]["keys"]["device_id"], device.as_str());
    assert!(told[0].get("deleted").is_none());
    // A new name is sent as a member event too, and no join.
    let name = json!({"displayname": "Ann the second"});
    ann.call("PUT", &format!("/profile/{user}/displayname"), name)
        .await;
    world.until_sent("Ann the second", "m.room.member").await;
    assert_eq!(world.told().len(), 1);
    // A device without keys that gets a name is not gone.
    let name = json!({"display_name": "Phone"});
    let renamed = ann.call("PUT", &format!("/devices/{bare}"), name).await;
    assert_eq!(renamed.0, 200, "{}", renamed.1);
    world.until_sent("m.device_list_update", &bare).await;
    let told = world.told();
    let last = told.last().unwrap();
    assert_eq!(last["device_id"], bare.as_str());
    assert!(
        last.get("deleted").is_none() && last.get("keys").is_none(),
        "{last}"
    );
}

#[tokio::test]
async fn a_server_hears_of_a_new_device_before_it_has_keys() {
    let world = World::start().await;
    let room = world.shared_room().await;
    let open = json!({"join_rule": "public"});
    world
        .post(&room, "m.room.join_rules", Some(String::new()), open)
        .await;
    world.network.serve(peer_name(), |_| answer(200, "{}"));
    let ann = world.ann().await;
    ann.call("POST", &format!("/join/{room}"), json!({})).await;
    let login = |more: Value| {
        let mut login = json!({
            "type": "m.login.password", "password": "quetzal feathers",
            "identifier": {"type": "m.id.user", "user": "ann"},
        });
        login["device_id"] = more;
        login
    };
    for id in ["FIRST", "FIRST", "SECOND"] {
        let (status, answer) = ann.call("POST", "/login", login(json!(id))).await;
        assert_eq!((status, &answer["device_id"]), (200, &json!(id)));
    }
    world.until_sent("m.device_list_update", "SECOND").await;
    let told = world.told();
    let of = |id: &str| {
        let of_device = told.iter().filter(|told| told["device_id"] == id);
        of_device.collect::<Vec<_>>()
    };
    // A device that logs in again is none that is new.
    assert_eq!((of("FIRST").len(), of("SECOND").len()), (1, 1), "{told:?}");
    let second = of("SECOND")[0];
    assert!(second.get("keys").is_none() && second.get("deleted").is_none());
    assert_eq!(second["prev_id"], json!([of("FIRST")[0]["stream_id"]]));
}
