//! Encryption keys: uploading, asking, claiming, cross-signing.

use ruma::{
    CanonicalJsonObject,
    serde::Base64,
    signatures::{Ed25519KeyPair, KeyPair, to_canonical_json_string_for_signing},
};

use super::*;

/// A key pair that signs objects.
pub(super) struct Signer {
    pair: Ed25519KeyPair,
}

impl Signer {
    pub(super) fn new() -> Self {
        let der = Ed25519KeyPair::generate();
        Self {
            pair: Ed25519KeyPair::from_der(&der, "1".to_owned()).unwrap(),
        }
    }

    pub(super) fn public(&self) -> String {
        Base64::<ruma::serde::base64::Standard>::new(self.pair.public_key().to_vec()).encode()
    }

    pub(super) fn sign(&self, object: &mut Value, user: &str, key: &str) {
        let mut unsigned: CanonicalJsonObject = serde_json::from_value(object.clone()).unwrap();
        unsigned.remove("signatures");
        let text = to_canonical_json_string_for_signing(&unsigned).unwrap();
        let signature = self.pair.sign(text.as_bytes()).base64();
        object["signatures"][user][format!("ed25519:{key}")] = signature.into();
    }
}

pub(super) fn device_keys(user: &User, signer: &Signer) -> Value {
    let device = &user.device;
    let mut keys = json!({
        "user_id": user.id, "device_id": device,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {
            format!("ed25519:{device}"): signer.public(),
            format!("curve25519:{device}"): Signer::new().public(),
        },
    });
    signer.sign(&mut keys, &user.id, device);
    keys
}

pub(super) fn one_time_key(user: &User, signer: &Signer) -> Value {
    let mut key = json!({"key": Signer::new().public()});
    signer.sign(&mut key, &user.id, &user.device);
    key
}

fn cross_signing_key(user: &User, usage: &str, key: &Signer) -> Value {
    let public = key.public();
    json!({
        "user_id": user.id, "usage": [usage],
        "keys": {format!("ed25519:{public}"): public},
    })
}

async fn with_keys(server: &Server, name: &str) -> (User, Signer) {
    let user = server.register(name).await;
    let signer = Signer::new();
    let body = json!({"device_keys": device_keys(&user, &signer)});
    expect_ok(server.post(&user, "/keys/upload", body).await);
    (user, signer)
}

/// Uploads the three cross-signing keys: master, self-signing, user-signing.
async fn with_cross_signing(server: &Server, user: &User) -> [Signer; 3] {
    let keys = [Signer::new(), Signer::new(), Signer::new()];
    let [master, self_signing, user_signing] = &keys;
    let master_key = cross_signing_key(user, "master", master);
    let mut self_key = cross_signing_key(user, "self_signing", self_signing);
    let mut user_key = cross_signing_key(user, "user_signing", user_signing);
    master.sign(&mut self_key, &user.id, &master.public());
    master.sign(&mut user_key, &user.id, &master.public());
    let body = json!({
        "master_key": master_key, "self_signing_key": self_key, "user_signing_key": user_key,
    });
    expect_ok(server.post(user, "/keys/device_signing/upload", body).await);
    keys
}

async fn query(server: &Server, by: &User, of: &User) -> Value {
    let body = json!({"device_keys": {&of.id: []}});
    expect_ok(server.post(by, "/keys/query", body).await)
}

async fn claim(server: &Server, by: &User, of: &User) -> Value {
    let body = json!({"one_time_keys": {&of.id: {&of.device: "signed_curve25519"}}});
    let answer = expect_ok(server.post(by, "/keys/claim", body).await);
    answer["one_time_keys"][&of.id][&of.device].clone()
}

#[tokio::test]
async fn identity_keys_are_shown_as_uploaded_and_follow_changes() {
    let server = Server::start().await;
    let (alice, signer) = with_keys(&server, "alice").await;
    let bob = server.register("bob").await;
    let before = query(&server, &bob, &alice).await;
    let keys = device_keys(&alice, &signer);
    assert_ne!(before["device_keys"][&alice.id][&alice.device], keys);
    expect_ok(
        server
            .post(&alice, "/keys/upload", json!({"device_keys": keys}))
            .await,
    );
    let after = query(&server, &bob, &alice).await;
    assert_eq!(after["device_keys"][&alice.id][&alice.device], keys);
    expect_ok(server.post(&alice, "/logout", json!({})).await);
    let gone = query(&server, &bob, &alice).await;
    assert_eq!(gone["device_keys"][&alice.id], json!({}));
}

#[tokio::test]
async fn identity_keys_must_be_ones_own_and_signed() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let signer = Signer::new();
    let good = device_keys(&alice, &signer);
    let mut forged = good.clone();
    forged["keys"][format!("curve25519:{}", alice.device)] = Signer::new().public().into();
    let mut other_device = good.clone();
    other_device["device_id"] = "OTHER".into();
    let mut no_key = good.clone();
    no_key["keys"][format!("curve25519:{}", alice.device)] = "AAAA".into();
    let mut float = good.clone();
    float["weight"] = json!(0.5);
    let mut long = good.clone();
    long["padding"] = "x".repeat(64 * 1024).into();
    let cases = [
        (forged, "M_INVALID_SIGNATURE"),
        (device_keys(&bob, &signer), "M_INVALID_PARAM"),
        (other_device, "M_INVALID_PARAM"),
        (no_key, "M_INVALID_PARAM"),
        (float, "M_INVALID_PARAM"),
        (long, "M_INVALID_PARAM"),
        (json!({"keys": 3}), "M_INVALID_PARAM"),
    ];
    for (keys, errcode) in cases {
        let answer = server
            .post(&alice, "/keys/upload", json!({"device_keys": keys}))
            .await;
        expect(&answer, 400, errcode);
    }
    let shown = query(&server, &bob, &alice).await;
    assert_eq!(shown["device_keys"][&alice.id], json!({}));
}

#[tokio::test]
async fn one_time_keys_are_given_out_once_then_the_fallback_key() {
    let server = Server::start().await;
    let (alice, signer) = with_keys(&server, "alice").await;
    let bob = server.register("bob").await;
    let keys: Vec<Value> = (0..3).map(|_| one_time_key(&alice, &signer)).collect();
    let fallback = one_time_key(&alice, &signer);
    let body = json!({
        "one_time_keys": {"signed_curve25519:B": keys[1], "signed_curve25519:A": keys[0]},
        "fallback_keys": {"signed_curve25519:F": fallback},
    });
    let counts = expect_ok(server.post(&alice, "/keys/upload", body.clone()).await);
    assert_eq!(
        counts,
        json!({"one_time_key_counts": {"signed_curve25519": 2}})
    );
    // The same again is nothing new; another key under a known name is refused, and nothing of it stored.
    assert_eq!(
        expect_ok(server.post(&alice, "/keys/upload", body).await),
        counts
    );
    let clash =
        json!({"one_time_keys": {"signed_curve25519:A": keys[2], "signed_curve25519:C": keys[2]}});
    expect(
        &server.post(&alice, "/keys/upload", clash).await,
        400,
        "M_INVALID_PARAM",
    );
    let user = ruma::UserId::parse(&alice.id).unwrap();
    let counts = async || {
        server
            .app
            .store
            .key_counts(&user, alice.device.as_str().into())
            .await
            .unwrap()
    };
    assert_eq!(counts().await.unused_fallback, ["signed_curve25519"]);
    let mut given = [
        claim(&server, &bob, &alice).await,
        claim(&server, &bob, &alice).await,
    ];
    given.sort_by_key(ToString::to_string);
    assert_eq!(given[0], json!({"signed_curve25519:A": keys[0]}));
    assert_eq!(given[1], json!({"signed_curve25519:B": keys[1]}));
    assert_eq!(counts().await.one_time.len(), 0);
    for _ in 0..2 {
        let last = claim(&server, &bob, &alice).await;
        assert_eq!(last, json!({"signed_curve25519:F": fallback}));
    }
    assert!(counts().await.unused_fallback.is_empty());
}

#[tokio::test]
async fn many_who_claim_at_once_never_get_the_same_key() {
    let server = Server::start().await;
    let (alice, signer) = with_keys(&server, "alice").await;
    let bob = server.register("bob").await;
    let keys: serde_json::Map<String, Value> = (0..20)
        .map(|number| {
            (
                format!("signed_curve25519:{number}"),
                one_time_key(&alice, &signer),
            )
        })
        .collect();
    expect_ok(
        server
            .post(&alice, "/keys/upload", json!({"one_time_keys": keys}))
            .await,
    );
    let claims = (0..30).map(|_| claim(&server, &bob, &alice));
    let given = futures_util::future::join_all(claims).await;
    let mut names: Vec<String> = given
        .iter()
        .filter_map(|keys| keys.as_object()?.keys().next().cloned())
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 20);
    assert_eq!(given.iter().filter(|keys| keys.is_null()).count(), 10);
}

#[tokio::test]
async fn the_first_cross_signing_keys_are_free_and_others_cost_the_password() {
    let server = Server::start().await;
    let (alice, _) = with_keys(&server, "alice").await;
    let bob = server.register("bob").await;
    let path = "/keys/device_signing/upload";
    let master = Signer::new();
    let mut unsigned =
        json!({"self_signing_key": cross_signing_key(&alice, "self_signing", &Signer::new())});
    expect(
        &server.post(&alice, path, unsigned.clone()).await,
        400,
        "M_MISSING_PARAM",
    );
    unsigned["master_key"] = cross_signing_key(&alice, "master", &master);
    expect(
        &server.post(&alice, path, unsigned).await,
        400,
        "M_INVALID_SIGNATURE",
    );
    let [old, ..] = with_cross_signing(&server, &alice).await;
    let same = json!({"master_key": cross_signing_key(&alice, "master", &old)});
    expect_ok(server.post(&alice, path, same).await);
    let new = json!({"master_key": cross_signing_key(&alice, "master", &master)});
    let (status, challenge) = server.post(&alice, path, new.clone()).await;
    assert_eq!(status, 401);
    assert_eq!(
        query(&server, &bob, &alice).await["master_keys"][&alice.id],
        cross_signing_key(&alice, "master", &old)
    );
    let mut proven = new.clone();
    proven["auth"] = password_auth(&alice, &challenge["session"]);
    expect_ok(server.post(&alice, path, proven).await);
    let shown = query(&server, &bob, &alice).await;
    assert_eq!(shown["master_keys"][&alice.id], new["master_key"]);
    assert_eq!(
        shown["user_signing_keys"],
        Value::Null,
        "only its owner sees it"
    );
    let own = query(&server, &alice, &alice).await;
    assert!(own["user_signing_keys"][&alice.id].is_object());
}

#[tokio::test]
async fn a_device_and_a_cross_signing_key_never_share_a_name() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let master = Signer::new();
    let mut body = login_body("alice", PASSWORD);
    body["device_id"] = master.public().into();
    let named = user_of(&expect_ok(server.call("POST", "/login", "", body).await));
    let key = json!({"master_key": cross_signing_key(&alice, "master", &master)});
    expect(
        &server
            .post(&alice, "/keys/device_signing/upload", key)
            .await,
        403,
        "M_FORBIDDEN",
    );
    // The other way round: the key first, then a device of its name.
    expect_ok(server.post(&named, "/logout", json!({})).await);
    let key = json!({"master_key": cross_signing_key(&alice, "master", &master)});
    expect_ok(
        server
            .post(&alice, "/keys/device_signing/upload", key)
            .await,
    );
    let mut body = login_body("alice", PASSWORD);
    body["device_id"] = master.public().into();
    let refused = server.call("POST", "/login", "", body).await;
    expect(&refused, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn signatures_are_verified_and_shown_to_those_who_may_see_them() {
    let server = Server::start().await;
    let (alice, device) = with_keys(&server, "alice").await;
    let (bob, _) = with_keys(&server, "bob").await;
    let carol = server.register("carol").await;
    let [master, self_signing, user_signing] = with_cross_signing(&server, &alice).await;
    let [bobs_master, ..] = with_cross_signing(&server, &bob).await;
    let own = query(&server, &alice, &alice).await;
    let mut device_object = own["device_keys"][&alice.id][&alice.device].clone();
    self_signing.sign(&mut device_object, &alice.id, &self_signing.public());
    let mut master_object = own["master_keys"][&alice.id].clone();
    device.sign(&mut master_object, &alice.id, &alice.device);
    let mut bobs_object = query(&server, &alice, &bob).await["master_keys"][&bob.id].clone();
    user_signing.sign(&mut bobs_object, &alice.id, &user_signing.public());
    let body = json!({
        &alice.id: {&alice.device: device_object, master.public(): master_object},
        &bob.id: {bobs_master.public(): bobs_object},
    });
    let mut before = Vec::new();
    for user in [&alice, &bob] {
        let sync = expect_ok(server.get(user, "/sync?timeout=0").await);
        before.push(sync["next_batch"].as_str().unwrap().to_owned());
    }
    let answer = expect_ok(server.post(&alice, "/keys/signatures/upload", body).await);
    assert_eq!(answer, json!({"failures": {}}));
    // Alice's other devices must fetch Bob's key to see that she has signed it; he sees no difference.
    for (user, since, told) in [(&alice, &before[0], true), (&bob, &before[1], false)] {
        let path = format!("/sync?timeout=0&since={since}");
        let sync = expect_ok(server.get(user, &path).await);
        let changed = sync["device_lists"]["changed"].as_array();
        let about_bob = changed.is_some_and(|changed| changed.contains(&json!(bob.id)));
        assert_eq!(about_bob, told, "{sync}");
    }
    let seen = query(&server, &carol, &alice).await;
    assert_eq!(seen["device_keys"][&alice.id][&alice.device], device_object);
    assert_eq!(seen["master_keys"][&alice.id], master_object);
    let bob_by =
        async |user: &User| query(&server, user, &bob).await["master_keys"][&bob.id].clone();
    assert_eq!(bob_by(&alice).await, bobs_object);
    assert_eq!(bob_by(&carol).await["signatures"][&alice.id], Value::Null);
    assert_eq!(bob_by(&bob).await["signatures"][&alice.id], Value::Null);
    // Uploading the same keys again does not lose the signature.
    let mut again = device_object.clone();
    again["signatures"][&alice.id]
        .as_object_mut()
        .unwrap()
        .retain(|key, _| key.ends_with(&alice.device));
    expect_ok(
        server
            .post(&alice, "/keys/upload", json!({"device_keys": again}))
            .await,
    );
    assert_eq!(
        query(&server, &carol, &alice).await["device_keys"][&alice.id][&alice.device],
        device_object
    );
}

#[tokio::test]
async fn signatures_that_come_at_once_are_all_kept() {
    let server = Server::start().await;
    let (alice, _) = with_keys(&server, "alice").await;
    let [master, ..] = with_cross_signing(&server, &alice).await;
    let object = query(&server, &alice, &alice).await["master_keys"][&alice.id].clone();
    let mut uploads = Vec::new();
    for _ in 0..8 {
        let body = login_body("alice", PASSWORD);
        let device = user_of(&expect_ok(server.call("POST", "/login", "", body).await));
        let signer = Signer::new();
        let keys = json!({"device_keys": device_keys(&device, &signer)});
        expect_ok(server.post(&device, "/keys/upload", keys).await);
        let mut signed = object.clone();
        signer.sign(&mut signed, &device.id, &device.device);
        uploads.push((device, json!({&alice.id: {master.public(): signed}})));
    }
    let made = uploads
        .iter()
        .map(|(device, body)| server.post(device, "/keys/signatures/upload", body.clone()));
    for answer in futures_util::future::join_all(made).await {
        assert_eq!(expect_ok(answer), json!({"failures": {}}));
    }
    let seen = query(&server, &alice, &alice).await["master_keys"][&alice.id].clone();
    let signatures = seen["signatures"][&alice.id].as_object().unwrap();
    for (device, _) in &uploads {
        assert!(signatures.contains_key(&format!("ed25519:{}", device.device)));
    }
}

#[tokio::test]
async fn bad_signatures_are_named_and_not_kept() {
    let server = Server::start().await;
    let (alice, _) = with_keys(&server, "alice").await;
    let (bob, _) = with_keys(&server, "bob").await;
    let [_, self_signing, _] = with_cross_signing(&server, &alice).await;
    let own = query(&server, &alice, &alice).await;
    let stored = own["device_keys"][&alice.id][&alice.device].clone();
    let mut forged = stored.clone();
    Signer::new().sign(&mut forged, &alice.id, &self_signing.public());
    let mut changed = stored.clone();
    changed["algorithms"] = json!([]);
    self_signing.sign(&mut changed, &alice.id, &self_signing.public());
    let bobs = query(&server, &alice, &bob).await["device_keys"][&bob.id][&bob.device].clone();
    let upload = |user: &User, name: &str, object: Value| {
        let body = json!({&user.id: {name: object}});
        let (id, name) = (user.id.clone(), name.to_owned());
        let (server, alice) = (&server, &alice);
        async move {
            let answer = expect_ok(server.post(alice, "/keys/signatures/upload", body).await);
            answer["failures"][id][name]["errcode"].clone()
        }
    };
    assert_eq!(
        upload(&alice, &alice.device, forged).await,
        "M_INVALID_SIGNATURE"
    );
    assert_eq!(
        upload(&alice, &alice.device, changed).await,
        "M_INVALID_PARAM"
    );
    assert_eq!(
        upload(&alice, &alice.device, stored.clone()).await,
        "M_INVALID_SIGNATURE"
    );
    assert_eq!(
        upload(&alice, "NOSUCH", stored.clone()).await,
        "M_INVALID_PARAM"
    );
    assert_eq!(upload(&bob, &bob.device, bobs).await, "M_INVALID_PARAM");
    assert_eq!(
        query(&server, &alice, &alice).await["device_keys"][&alice.id][&alice.device],
        stored
    );
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named() {
    let server = Server::start().await;
    let (alice, _) = with_keys(&server, "alice").await;
    let body = json!({"device_keys": {"@eve:nowhere.example": [], &alice.id: []}});
    let answer = expect_ok(server.post(&alice, "/keys/query", body).await);
    assert!(answer["failures"]["nowhere.example"].is_object());
    assert!(answer["device_keys"][&alice.id][&alice.device].is_object());
    let body = json!({"one_time_keys": {"@eve:nowhere.example": {"X": "signed_curve25519"}}});
    let answer = expect_ok(server.post(&alice, "/keys/claim", body).await);
    assert!(answer["failures"]["nowhere.example"].is_object());
}

#[tokio::test]
async fn key_changes_between_two_syncs_are_told() {
    let server = Server::start().await;
    let (alice, _) = with_keys(&server, "alice").await;
    let (bob, signer) = with_keys(&server, "bob").await;
    let (carol, _) = with_keys(&server, "carol").await;
    let room = expect_ok(
        server
            .post(&alice, "/createRoom", json!({"preset": "public_chat"}))
            .await,
    );
    let room = room["room_id"].as_str().unwrap().to_owned();
    let since = |answer: Value| answer["next_batch"].as_str().unwrap().to_owned();
    let start = since(expect_ok(server.get(&alice, "/sync?timeout=0").await));
    for user in [&bob, &carol] {
        let path = format!("/rooms/{room}/join");
        expect_ok(server.post(user, &path, json!({})).await);
    }
    let joined = since(expect_ok(server.get(&alice, "/sync?timeout=0").await));
    let keys = json!({"device_keys": device_keys(&bob, &signer)});
    expect_ok(server.post(&bob, "/keys/upload", keys).await);
    let path = format!("/rooms/{room}/leave");
    expect_ok(server.post(&carol, &path, json!({})).await);
    let end = since(expect_ok(server.get(&alice, "/sync?timeout=0").await));
    let path = |from: &str, to: &str| format!("/keys/changes?from={from}&to={to}");
    let told = expect_ok(server.get(&alice, &path(&joined, &end)).await);
    assert_eq!(told, json!({"changed": [bob.id], "left": [carol.id]}));
    let told = expect_ok(server.get(&alice, &path(&start, &end)).await);
    assert_eq!(told, json!({"changed": [bob.id], "left": [carol.id]}));
    let told = expect_ok(server.get(&alice, &path(&end, &end)).await);
    assert_eq!(told, json!({"changed": [], "left": []}));
    let answer = server.get(&alice, &path("x", &end)).await;
    expect(&answer, 400, "M_INVALID_PARAM");
    let answer = server.get(&alice, "/keys/changes").await;
    expect(&answer, 400, "M_MISSING_PARAM");
}
