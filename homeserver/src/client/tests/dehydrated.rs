//! Dehydrated devices: put, found by the next client, read as often as need be, replaced and deleted.

use super::{
    keys::{Signer, device_keys, one_time_key},
    *,
};

const PATH: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";

/// The request for a device of that id.
fn device(user: &User, id: &str) -> Value {
    let asleep = User {
        device: id.to_owned(),
        ..user.clone()
    };
    let signer = Signer::new();
    let mut keys = device_keys(&asleep, &signer);
    keys["dehydrated"] = true.into();
    keys["signatures"] = json!({});
    signer.sign(&mut keys, &user.id, id);
    json!({
        "device_id": id,
        "device_data": {"algorithm": "org.matrix.msc3814.v2", "device_pickle": "abc", "nonce": "def"},
        "initial_device_display_name": "asleep",
        "device_keys": keys,
        "one_time_keys": {"signed_curve25519:AAAA": one_time_key(&asleep, &signer)},
        "fallback_keys": {"signed_curve25519:AAAB": one_time_key(&asleep, &signer)},
    })
}

fn events(id: &str) -> String {
    format!("{PATH}/{id}/events")
}

/// Puts messages into the device's inbox, by their numbers.
async fn send(server: &Server, sender: &User, to: &User, id: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let path = format!("/sendToDevice/m.test/{number}");
        let body = json!({"messages": {&to.id: {id: {"n": number}}}});
        expect_ok(server.put(sender, &path, body).await);
    }
}

fn numbers(answer: &Value) -> Vec<u64> {
    let events = answer["events"].as_array().unwrap().iter();
    events
        .map(|event| event["content"]["n"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_dehydrated_device_waits_with_its_keys_for_the_next_client() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    expect(&server.get(&alice, PATH).await, 404, "M_NOT_FOUND");
    let body = device(&alice, "c2xlZXA/+A");
    let answer = expect_ok(server.put(&alice, PATH, body.clone()).await);
    assert_eq!(answer, json!({"device_id": "c2xlZXA/+A"}));
    let server = server.restart().await;
    let next = server.login("alice").await;
    let found = expect_ok(server.get(&next, PATH).await);
    assert_eq!(found["device_id"], "c2xlZXA/+A");
    assert_eq!(found["device_data"], body["device_data"]);
    // Others see a device as any other, and may write to it.
    let query = json!({"device_keys": {&alice.id: []}});
    let keys = expect_ok(server.post(&bob, "/keys/query", query).await);
    let listed = &keys["device_keys"][&alice.id]["c2xlZXA/+A"];
    assert_eq!(listed["dehydrated"], true);
    assert_eq!(listed["unsigned"]["device_display_name"], "asleep");
    let claim = json!({"one_time_keys": {&alice.id: {"c2xlZXA/+A": "signed_curve25519"}}});
    for id in ["AAAA", "AAAB", "AAAB"] {
        let claimed = expect_ok(server.post(&bob, "/keys/claim", claim.clone()).await);
        let key = &claimed["one_time_keys"][&alice.id]["c2xlZXA/+A"];
        assert!(
            key[format!("signed_curve25519:{id}")].is_object(),
            "{claimed}"
        );
    }
    send(&server, &bob, &alice, "c2xlZXA/+A", 0..1).await;
    let read = server.get(&next, &events("c2xlZXA%2F+A")).await;
    assert_eq!(numbers(&expect_ok(read)), [0]);
    // Another user's is nobody's affair.
    expect(&server.get(&bob, PATH).await, 404, "M_NOT_FOUND");
    expect(
        &server.get(&bob, &events("c2xlZXA%2F+A")).await,
        403,
        "M_FORBIDDEN",
    );
}

#[tokio::test]
async fn its_messages_are_read_in_pages_as_often_as_need_be() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    expect_ok(server.put(&alice, PATH, device(&alice, "ASLEEP")).await);
    send(&server, &bob, &alice, "ASLEEP", 0..150).await;
    for _ in 0..2 {
        let first = expect_ok(server.get(&alice, &events("ASLEEP")).await);
        let next = first["next_batch"].as_str().unwrap();
        let second = server
            .get(&alice, &format!("{}?from={next}", events("ASLEEP")))
            .await;
        let second = expect_ok(second);
        let all = [numbers(&first), numbers(&second)].concat();
        assert_eq!(all, (0..150).collect::<Vec<u64>>());
        // "the server will omit the next_batch token, which signals to the client that it has received all"
        assert_eq!(second.get("next_batch"), None);
        assert_eq!(second["events"][0]["type"], "m.test");
        assert_eq!(second["events"][0]["sender"], bob.id);
    }
    // As clients in use ask: until nothing comes.
    let mut body = json!({});
    let mut all = Vec::new();
    loop {
        let page = expect_ok(server.post(&alice, &events("ASLEEP"), body).await);
        if numbers(&page).is_empty() {
            break;
        }
        all.extend(numbers(&page));
        body = json!({"next_batch": page["next_batch"]});
    }
    assert_eq!(all, (0..150).collect::<Vec<u64>>());
    let wrong = server
        .get(&alice, &format!("{}?from=nonsense", events("ASLEEP")))
        .await;
    expect(&wrong, 400, "M_INVALID_PARAM");
    expect(
        &server.get(&alice, &events("OTHER")).await,
        403,
        "M_FORBIDDEN",
    );
    // Nor a device that a client runs.
    expect(
        &server.get(&alice, &events(&alice.device)).await,
        403,
        "M_FORBIDDEN",
    );
}

#[tokio::test]
async fn a_new_one_takes_the_place_of_the_old_one_with_all_that_was_its_own() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let ids = async |server: &Server| {
        let listed = expect_ok(server.get(&alice, "/devices").await);
        let listed = listed["devices"].as_array().unwrap().iter();
        let mut ids: Vec<_> = listed
            .map(|one| one["device_id"].as_str().unwrap().to_owned())
            .collect();
        ids.retain(|id| *id != alice.device);
        ids
    };
    expect_ok(server.put(&alice, PATH, device(&alice, "FIRST")).await);
    send(&server, &bob, &alice, "FIRST", 0..1).await;
    expect_ok(server.put(&alice, PATH, device(&alice, "SECOND")).await);
    assert_eq!(ids(&server).await, ["SECOND"]);
    expect(
        &server.get(&alice, &events("FIRST")).await,
        403,
        "M_FORBIDDEN",
    );
    // The same id again is a new device: other keys, no messages.
    send(&server, &bob, &alice, "SECOND", 1..2).await;
    expect_ok(server.put(&alice, PATH, device(&alice, "SECOND")).await);
    let read = expect_ok(server.get(&alice, &events("SECOND")).await);
    assert!(numbers(&read).is_empty());
    let gone = expect_ok(server.call("DELETE", PATH, &alice.token, Value::Null).await);
    assert_eq!(gone, json!({"device_id": "SECOND"}));
    assert!(ids(&server).await.is_empty());
    let again = server.call("DELETE", PATH, &alice.token, Value::Null).await;
    expect(&again, 404, "M_NOT_FOUND");
    // Logging out everywhere takes it along.
    expect_ok(server.put(&alice, PATH, device(&alice, "THIRD")).await);
    expect_ok(server.post(&alice, "/logout/all", json!({})).await);
    let next = server.login("alice").await;
    expect(&server.get(&next, PATH).await, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn what_is_no_device_is_refused_and_leaves_what_there_was() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    expect_ok(server.put(&alice, PATH, device(&alice, "FIRST")).await);
    type Spoil = fn(&mut Value);
    let spoils: [(Spoil, &str); 8] = [
        (|body| body["device_id"] = "OTHER".into(), "M_INVALID_PARAM"),
        (|body| body["device_data"] = json!({}), "M_INVALID_PARAM"),
        (
            |body| body["device_data"]["x"] = "x".repeat(70_000).into(),
            "M_INVALID_PARAM",
        ),
        (
            |body| drop(body.as_object_mut().unwrap().remove("device_data")),
            "M_BAD_JSON",
        ),
        (
            |body| drop(body.as_object_mut().unwrap().remove("device_keys")),
            "M_BAD_JSON",
        ),
        (
            |body| body["device_keys"]["dehydrated"] = false.into(),
            "M_INVALID_SIGNATURE",
        ),
        (
            |body| body["device_keys"]["user_id"] = "@bob:example.org".into(),
            "M_INVALID_PARAM",
        ),
        (
            |body| body["fallback_keys"] = json!({"signed_curve25519:A": "x"}),
            "M_INVALID_PARAM",
        ),
    ];
    for (number, (spoil, errcode)) in spoils.into_iter().enumerate() {
        let mut body = device(&alice, "NEW");
        spoil(&mut body);
        let answer = server.put(&alice, PATH, body).await;
        assert_eq!(
            (number, &answer.1["errcode"]),
            (number, &json!(errcode)),
            "{}",
            answer.1
        );
        assert_eq!(answer.0, 400);
    }
    // A device that a client runs is not put to sleep by another.
    let taken = server
        .put(&alice, PATH, device(&alice, &alice.device))
        .await;
    expect(&taken, 400, "M_INVALID_PARAM");
    assert_eq!(
        expect_ok(server.get(&alice, PATH).await)["device_id"],
        "FIRST"
    );
    expect(
        &server.call("GET", PATH, "", Value::Null).await,
        401,
        "M_MISSING_TOKEN",
    );
}
