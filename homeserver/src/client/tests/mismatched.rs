//! Paths that say another thing than the body, than the token, or than each other: the specification's code, and nothing is stored.

use super::*;

/// What Alice asks, and the refusal.
type Case = (&'static str, String, Value, u16, &'static str);

/// What is in a path is somebody else's.
fn of_another(bob: &User, room: &str) -> Vec<Case> {
    let bob = &bob.id;
    let forbidden = |method, path: String, body| (method, path, body, 403, "M_FORBIDDEN");
    vec![
        forbidden(
            "PUT",
            format!("/user/{bob}/account_data/org.test"),
            json!({"a": 1}),
        ),
        forbidden(
            "PUT",
            format!("/user/{bob}/rooms/{room}/account_data/org.test"),
            json!({"a": 1}),
        ),
        forbidden(
            "PUT",
            format!("/user/{bob}/rooms/{room}/tags/u.work"),
            json!({}),
        ),
        forbidden("POST", format!("/user/{bob}/filter"), json!({})),
        forbidden(
            "POST",
            format!("/user/{bob}/openid/request_token"),
            json!({}),
        ),
        forbidden(
            "PUT",
            format!("/profile/{bob}/displayname"),
            json!({"displayname": "Eve"}),
        ),
        forbidden(
            "PUT",
            format!("/rooms/{room}/typing/{bob}"),
            json!({"typing": true, "timeout": 1000}),
        ),
        forbidden(
            "PUT",
            format!("/presence/{bob}/status"),
            json!({"presence": "online"}),
        ),
        forbidden(
            "PUT",
            format!("/rooms/{room}/state/m.room.member/{bob}"),
            json!({"membership": "join"}),
        ),
        forbidden(
            "PUT",
            format!("/rooms/{room}/state/org.test/{bob}"),
            json!({"a": 1}),
        ),
    ]
}

/// The event in a path is of another room than the room in it.
fn of_another_room(room: &str, event: &str) -> Vec<Case> {
    let missing = |method, path: String, body| (method, path, body, 404, "M_NOT_FOUND");
    let get = |path: String| missing("GET", path, Value::Null);
    vec![
        get(format!("/rooms/{room}/event/{event}")),
        get(format!("/rooms/{room}/context/{event}")),
        get(format!("/_matrix/client/v1/rooms/{room}/relations/{event}")),
        missing(
            "POST",
            format!("/rooms/{room}/receipt/m.read/{event}"),
            json!({}),
        ),
        missing(
            "POST",
            format!("/rooms/{room}/report/{event}"),
            json!({"reason": "spam"}),
        ),
        missing("PUT", format!("/rooms/{room}/redact/{event}/1"), json!({})),
        missing(
            "POST",
            format!("/rooms/{room}/read_markers"),
            json!({"m.read": event}),
        ),
    ]
}

#[tokio::test]
async fn what_disagrees_is_refused_and_not_stored() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    let other = server.room(&alice, json!({})).await;
    let path = format!("/rooms/{other}/send/org.test/1");
    let said = server.put(&alice, &path, json!({}));
    let event = expect_ok(said.await)["event_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let backup = json!({"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
        "auth_data": {"public_key": "AA", "signatures": {}}});
    for _ in 0..2 {
        expect_ok(
            server
                .post(&alice, "/room_keys/version", backup.clone())
                .await,
        );
    }
    let mut of_body = backup;
    of_body["version"] = json!("1");
    let avatar = json!({"avatar_url": "mxc://example.org/a"});
    let mut cases = of_another(&bob, &room);
    cases.extend(of_another_room(&room, &event));
    cases.push((
        "PUT",
        "/room_keys/version/2".into(),
        of_body.clone(),
        400,
        "M_INVALID_PARAM",
    ));
    let name = format!("/profile/{}/displayname", alice.id);
    cases.push(("PUT", name, avatar, 400, "M_MISSING_PARAM"));
    let before = server.app.store.heads().head();
    for (method, path, body, status, errcode) in cases {
        let answer = server.call(method, &path, &alice.token, body).await;
        assert_eq!(
            (answer.0, &answer.1["errcode"]),
            (status, &json!(errcode)),
            "{path} {}",
            answer.1
        );
    }
    assert_eq!(
        server.app.store.heads().head(),
        before,
        "nothing of it is stored"
    );
    // The controls: the same where path and body agree.
    of_body["version"] = json!("2");
    expect_ok(server.put(&alice, "/room_keys/version/2", of_body).await);
    for (method, path, body, ..) in of_another_room(&other, &event) {
        expect_ok(server.call(method, &path, &alice.token, body).await);
    }
}

#[tokio::test]
async fn a_password_proves_nothing_for_the_token_of_another() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let change = |auth: Value| json!({"new_password": "another one", "auth": auth});
    let asked = server.post(
        &alice,
        "/account/password",
        json!({"new_password": "another one"}),
    );
    let (status, asked) = asked.await;
    assert_eq!(status, 401);
    let of_bob = change(password_auth(&bob, &asked["session"]));
    let refused = server.post(&alice, "/account/password", of_bob).await;
    expect(&refused, 403, "M_FORBIDDEN");
    server.login("alice").await;
    let of_alice = change(password_auth(&alice, &asked["session"]));
    expect_ok(server.post(&alice, "/account/password", of_alice).await);
}
