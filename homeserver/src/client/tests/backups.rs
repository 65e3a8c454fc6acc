//! Backups of room keys: versions, which key is kept, and etags.

use super::*;

const AUTH: &str = "m.megolm_backup.v1.curve25519-aes-sha2";

fn algorithm(public_key: &str) -> Value {
    json!({"algorithm": AUTH, "auth_data": {"public_key": public_key, "signatures": {}}})
}

fn key(index: u32, forwarded: u32, verified: bool) -> Value {
    json!({
        "first_message_index": index, "forwarded_count": forwarded, "is_verified": verified,
        "session_data": {"ephemeral": "AA", "ciphertext": format!("C{index}{forwarded}"), "mac": "AA"},
    })
}

async fn create(server: &Server, user: &User) -> String {
    let answer = expect_ok(
        server
            .post(user, "/room_keys/version", algorithm("AA"))
            .await,
    );
    answer["version"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn versions_count_up_and_are_never_given_again() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    expect(
        &server.get(&alice, "/room_keys/version").await,
        404,
        "M_NOT_FOUND",
    );
    assert_eq!(create(&server, &alice).await, "1");
    assert_eq!(create(&server, &alice).await, "2");
    let newest = expect_ok(server.get(&alice, "/room_keys/version").await);
    let described = json!({
        "algorithm": AUTH, "auth_data": {"public_key": "AA", "signatures": {}},
        "count": 0, "etag": "0", "version": "2",
    });
    assert_eq!(newest, described);
    let path = "/room_keys/version/2";
    expect(&server.get(&bob, path).await, 404, "M_NOT_FOUND");
    expect_ok(server.put(&alice, path, algorithm("BB")).await);
    assert_eq!(
        expect_ok(server.get(&alice, path).await)["auth_data"]["public_key"],
        "BB"
    );
    let other = json!({"algorithm": "org.other", "auth_data": {}});
    expect(
        &server.put(&alice, path, other).await,
        400,
        "M_INVALID_PARAM",
    );
    for _ in 0..2 {
        // An answer that was lost is asked for again.
        expect_ok(server.call("DELETE", path, &alice.token, Value::Null).await);
    }
    for never in ["3", "+1", "01"] {
        let path = format!("/room_keys/version/{never}");
        let answer = server.call("DELETE", &path, &alice.token, Value::Null);
        expect(&answer.await, 404, "M_NOT_FOUND");
    }
    assert_eq!(
        expect_ok(server.get(&alice, "/room_keys/version").await)["version"],
        "1"
    );
    assert_eq!(create(&server, &alice).await, "3");
    expect(
        &server.get(&alice, "/room_keys/version/nonsense").await,
        404,
        "M_NOT_FOUND",
    );
    expect(
        &server.post(&alice, "/room_keys/version", json!({})).await,
        400,
        "M_BAD_JSON",
    );
}

#[tokio::test]
async fn only_a_better_key_replaces_another() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    create(&server, &alice).await;
    let path = "/room_keys/keys/!r:example.org/S1?version=1";
    let put = async |key: Value| {
        let answer = expect_ok(server.put(&alice, path, key).await);
        (
            answer["etag"].as_str().unwrap().to_owned(),
            answer["count"].clone(),
        )
    };
    assert_eq!(put(key(5, 1, false)).await, ("1".into(), json!(1)));
    for worse in [key(5, 1, false), key(6, 0, false), key(5, 2, false)] {
        assert_eq!(put(worse).await, ("1".into(), json!(1)));
    }
    for better in [
        key(5, 0, false),
        key(4, 3, false),
        key(9, 9, true),
        key(9, 8, true),
    ] {
        put(better.clone()).await;
        assert_eq!(expect_ok(server.get(&alice, path).await), better);
    }
    assert_eq!(
        put(key(0, 0, false)).await,
        ("5".into(), json!(1)),
        "verified ones stay"
    );
}

#[tokio::test]
async fn keys_are_read_and_deleted_by_session_by_room_and_all() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    create(&server, &alice).await;
    let rooms = json!({"rooms": {
        "!a:example.org": {"sessions": {"S1": key(0, 0, true), "S2": key(1, 0, true)}},
        "!b:example.org": {"sessions": {"S1": key(2, 0, true)}},
    }});
    let all = "/room_keys/keys?version=1";
    let answer = expect_ok(server.put(&alice, all, rooms.clone()).await);
    assert_eq!(answer, json!({"etag": "1", "count": 3}));
    assert_eq!(expect_ok(server.get(&alice, all).await), rooms);
    let room = "/room_keys/keys/!a:example.org?version=1";
    assert_eq!(
        expect_ok(server.get(&alice, room).await),
        rooms["rooms"]["!a:example.org"]
    );
    let one = "/room_keys/keys/!a:example.org/S2?version=1";
    let answer = expect_ok(server.call("DELETE", one, &alice.token, Value::Null).await);
    assert_eq!(answer, json!({"etag": "2", "count": 2}));
    expect(&server.get(&alice, one).await, 404, "M_NOT_FOUND");
    let answer = expect_ok(server.call("DELETE", one, &alice.token, Value::Null).await);
    assert_eq!(answer["etag"], "2", "nothing has changed");
    expect_ok(server.call("DELETE", room, &alice.token, Value::Null).await);
    let left = json!({"rooms": {"!b:example.org": {"sessions": {"S1": key(2, 0, true)}}}});
    assert_eq!(expect_ok(server.get(&alice, all).await), left);
    expect_ok(server.call("DELETE", all, &alice.token, Value::Null).await);
    assert_eq!(
        expect_ok(server.get(&alice, all).await),
        json!({"rooms": {}})
    );
    let empty = expect_ok(server.get(&alice, room).await);
    assert_eq!(empty, json!({"sessions": {}}));
}

#[tokio::test]
async fn keys_go_to_the_newest_version_only() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = |version: u32| format!("/room_keys/keys/!r:example.org/S1?version={version}");
    expect(
        &server.put(&alice, &path(1), key(0, 0, true)).await,
        404,
        "M_NOT_FOUND",
    );
    create(&server, &alice).await;
    expect_ok(server.put(&alice, &path(1), key(0, 0, true)).await);
    create(&server, &alice).await;
    let old = server.put(&alice, &path(1), key(0, 0, true)).await;
    expect(&old, 403, "M_WRONG_ROOM_KEYS_VERSION");
    assert_eq!(old.1["current_version"], "2");
    expect_ok(server.get(&alice, &path(1)).await);
    expect(&server.get(&alice, &path(2)).await, 404, "M_NOT_FOUND");
    expect(&server.get(&alice, &path(9)).await, 404, "M_NOT_FOUND");
    let bad = [
        json!({}),
        json!({"first_message_index": -1, "forwarded_count": 0, "is_verified": true, "session_data": {}}),
        json!({"first_message_index": 0, "forwarded_count": 0, "is_verified": "yes", "session_data": {}}),
        json!({"first_message_index": 0, "forwarded_count": 0, "is_verified": true, "session_data": 7}),
    ];
    for entry in bad {
        expect(
            &server.put(&alice, &path(2), entry).await,
            400,
            "M_BAD_JSON",
        );
    }
    let mut huge = key(0, 0, true);
    huge["session_data"]["ciphertext"] = "x".repeat(20_000).into();
    expect(
        &server.put(&alice, &path(2), huge).await,
        413,
        "M_TOO_LARGE",
    );
}
