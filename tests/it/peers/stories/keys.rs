//! Devices and their keys, messages between them, and a conversation that no server can read.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use passeur_tests::{
    Homeserver,
    foreign::{ForeignClient, Library},
    sdk::SdkUser,
    user::{PASSWORD, User},
};
use ruma::signatures::{Ed25519KeyPair, sign_json};
use serde_json::{Value, json};

use super::stage::{Site, Software, Stage};
use crate::peers::clients::talk;

/// A key that a device or a person signs with. The other halves of the keys in these stories are never used.
struct Signer {
    pair: Ed25519KeyPair,
}

impl Signer {
    /// A key pair whose id ends in `version`, or in the public key.
    fn new(version: Option<&str>) -> Self {
        let document = Ed25519KeyPair::generate();
        let load =
            |version: String| Ed25519KeyPair::from_der(&document, version).expect("a key pair");
        let pair = match version {
            Some(version) => load(version.to_owned()),
            None => load(public(&load("0".to_owned()))),
        };
        Self { pair }
    }

    fn public(&self) -> String {
        public(&self.pair)
    }

    /// The object with this key's signature of a user's.
    fn sign(&self, user: &str, object: Value) -> Value {
        let mut object = serde_json::from_value(object).expect("canonical JSON");
        sign_json(user, &self.pair, &mut object).expect("a signature");
        serde_json::to_value(object).expect("JSON")
    }
}

fn public(pair: &Ed25519KeyPair) -> String {
    STANDARD_NO_PAD.encode(pair.public_key())
}

/// Uploads the keys of the user's device, with a one-time key and a fallback key if wanted.
async fn upload_keys(user: &User, with_one_time_keys: bool) {
    let signer = Signer::new(Some(&user.device_id));
    let device = &user.device_id;
    let keys = json!({
        "user_id": user.id, "device_id": device,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {
            format!("curve25519:{device}"): Signer::new(None).public(),
            format!("ed25519:{device}"): signer.public(),
        },
    });
    let mut body = json!({"device_keys": signer.sign(&user.id, keys)});
    if with_one_time_keys {
        let once = json!({"key": Signer::new(None).public()});
        let fallback = json!({"key": Signer::new(None).public(), "fallback": true});
        body["one_time_keys"] = json!({"signed_curve25519:ONCE": signer.sign(&user.id, once)});
        let fallback = signer.sign(&user.id, fallback);
        body["fallback_keys"] = json!({"signed_curve25519:LAST": fallback});
    }
    user.post("/v3/keys/upload", body).await;
}

/// Waits until a user sees exactly these devices with keys of another.
async fn until_devices(user: &mut User, of: &str, mut devices: Vec<String>) {
    devices.sort();
    user.until("the other's devices", async |user| {
        let answer = user
            .post("/v3/keys/query", json!({"device_keys": {of: []}}))
            .await;
        let found = answer["device_keys"][of].as_object();
        let mut found: Vec<String> = found
            .map(|found| found.keys().cloned().collect())
            .unwrap_or_default();
        found.sort();
        let same = found == devices;
        same.then_some(()).ok_or_else(|| answer.to_string())
    })
    .await;
}

/// Both ways at once: each is told that the other's devices have changed, and sees them come and go.
pub(super) async fn devices_come_and_go(mut stage: Stage) {
    let room = stage.shared_room().await;
    stage.talk(&room).await;
    let (host, guest) = (stage.host.clone(), stage.guest.clone());
    let Stage { alice, bob, .. } = &mut stage;
    come_and_go(bob, &guest, alice).await;
    come_and_go(alice, &host, bob).await;
}

async fn come_and_go(owner: &User, home: &Site, watcher: &mut User) {
    watcher.sync().await;
    upload_keys(owner, false).await;
    watcher
        .until_sync("the news of the other's devices", |sync| {
            let changed = sync["device_lists"]["changed"].as_array()?;
            changed.contains(&json!(owner.id)).then_some(())
        })
        .await;
    until_devices(watcher, &owner.id, vec![owner.device_id.clone()]).await;
    let second = User::login(home, &owner.id).await;
    upload_keys(&second, false).await;
    let both = vec![owner.device_id.clone(), second.device_id.clone()];
    until_devices(watcher, &owner.id, both).await;
    second.post("/v3/logout", json!({})).await;
    until_devices(watcher, &owner.id, vec![owner.device_id.clone()]).await;
}

pub(super) async fn a_key_is_claimed_once(mut stage: Stage) {
    let room = stage.shared_room().await;
    let Stage { alice, bob, .. } = &mut stage;
    claims(alice, bob).await;
    claims(bob, alice).await;
    stage.talk(&room).await;
}

async fn claims(claimer: &mut User, owner: &User) {
    upload_keys(owner, true).await;
    until_devices(claimer, &owner.id, vec![owner.device_id.clone()]).await;
    let (id, device) = (&owner.id, &owner.device_id);
    let mut claimed = Vec::new();
    for _ in 0..3 {
        let wanted = json!({"one_time_keys": {id: {device: "signed_curve25519"}}});
        let answer = claimer.post("/v3/keys/claim", wanted).await;
        let keys = answer["one_time_keys"][id][device].as_object();
        let keys = keys.unwrap_or_else(|| panic!("no key in {answer}"));
        claimed.extend(keys.keys().cloned());
        for key in keys.values() {
            let signature = &key["signatures"][id][format!("ed25519:{device}")];
            assert!(signature.is_string(), "{answer}");
        }
    }
    // What lasts is given once the other is used up, and again.
    let last = "signed_curve25519:LAST";
    assert_eq!(claimed, ["signed_curve25519:ONCE", last, last]);
}

/// Master and self-signing keys and the signature of a device become known on the other side.
pub(super) async fn identities_are_known_on_the_other_side(mut stage: Stage) {
    let room = stage.shared_room().await;
    stage.talk(&room).await;
    let Stage { alice, bob, .. } = &mut stage;
    becomes_known(bob, alice).await;
    becomes_known(alice, bob).await;
}

async fn becomes_known(owner: &User, watcher: &mut User) {
    upload_keys(owner, false).await;
    let (master, selves) = (Signer::new(None), Signer::new(None));
    let key = |signer: &Signer, usage: &str| {
        let public = signer.public();
        let keys = json!({format!("ed25519:{public}"): public});
        json!({"user_id": owner.id, "usage": [usage], "keys": keys})
    };
    let own = key(&master, "master");
    let signed = master.sign(&owner.id, key(&selves, "self_signing"));
    let mut body = json!({"master_key": own, "self_signing_key": signed});
    let path = "/v3/keys/device_signing/upload";
    // The first identity may be taken without the password, by the specification.
    let first = owner
        .request(reqwest::Method::POST, path, Some(body.clone()))
        .await;
    if let Err(refusal) = first {
        let challenge: Value = serde_json::from_str(&refusal.body).expect("a challenge");
        body["auth"] = json!({
            "type": "m.login.password", "password": PASSWORD, "session": challenge["session"],
            "identifier": {"type": "m.id.user", "user": owner.id},
        });
        owner.post(path, body).await;
    }
    let id = owner.id.clone();
    watcher
        .until("the other's identity", async |watcher| {
            let query = json!({"device_keys": {&id: []}});
            let answer = watcher.post("/v3/keys/query", query).await;
            let has = |kind: &str, signer: &Signer| {
                let name = format!("ed25519:{}", signer.public());
                answer[kind][&id]["keys"].get(&name).is_some()
            };
            let both = has("master_keys", &master) && has("self_signing_keys", &selves);
            both.then_some(()).ok_or_else(|| answer.to_string())
        })
        .await;
}

/// To one device, to all, and each message once and in order.
pub(super) async fn devices_get_messages_once(mut stage: Stage) {
    let room = stage.shared_room().await;
    stage.talk(&room).await;
    let Stage { alice, bob, .. } = &mut stage;
    sends_to_devices(bob, alice).await;
    sends_to_devices(alice, bob).await;
}

async fn sends_to_devices(sender: &User, receiver: &mut User) {
    let device = receiver.device_id.clone();
    for (number, to) in [&*device, "*", &*device].into_iter().enumerate() {
        let path = format!("/v3/sendToDevice/org.example.quetzal/d{number}");
        let body = json!({"messages": {&receiver.id: {to: {"number": number}}}});
        sender.put(&path, body.clone()).await;
        // Said again under the same id, it is not sent again.
        sender.put(&path, body).await;
    }
    let mut got = Vec::new();
    receiver
        .until_sync("three messages to the device", |sync| {
            let events = sync["to_device"]["events"].as_array();
            for event in events.into_iter().flatten() {
                assert_eq!(event["sender"], json!(sender.id), "{event}");
                got.push(event["content"]["number"].clone());
            }
            (got.len() >= 3).then_some(())
        })
        .await;
    assert_eq!(got, [0, 1, 2]);
}

/// Our SDK at Passeur and matrix-nio at Synapse.
pub(super) async fn two_libraries_read_each_other(mut stage: Stage) {
    let encryption = json!({
        "type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    });
    let room = stage
        .room(json!({"preset": "public_chat", "initial_state": [encryption]}))
        .await;
    stage.bob.join(&room, stage.host.server_name()).await;
    stage.alice.until_member(&room, &stage.bob.id, "join").await;
    let Stage {
        alice,
        bob,
        host,
        guest,
        authority,
        ..
    } = &stage;
    let (ours, home, theirs, away) = match host.software {
        Software::Passeur => (alice, host, bob, guest),
        Software::Synapse => (bob, guest, alice, host),
    };
    let mut nio = ForeignClient::login(Library::Nio, away, &theirs.id, None).await;
    let sdk = SdkUser::login(home, &ours.id, &authority.file()).await;
    let members = [alice.id.as_str(), bob.id.as_str()];
    let sdk_room = sdk.wait_members(&room, &members).await;
    nio.meet(&room, &members).await;
    talk::exchange(&mut nio, &sdk_room).await;
    let seen = ours.history(&room).await;
    let encrypted = seen
        .iter()
        .filter(|event| event["type"] == "m.room.encrypted");
    assert_eq!(encrypted.count(), 4);
}
