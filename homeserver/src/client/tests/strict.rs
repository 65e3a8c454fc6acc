//! JSON that is odd, and what becomes of it.

use passeur_protocol::limits::PDU_BYTES_MAX;
use ruma::EventId;

use super::*;
use crate::rooms::projection;

/// `value` in the place of `%` in a body.
fn within(body: &str, value: &[u8]) -> Body {
    let (before, after) = body.split_once('%').unwrap();
    Body::from([before.as_bytes(), value, after.as_bytes()].concat())
}

#[tokio::test]
async fn events_hold_canonical_numbers_and_a_bounded_size() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    for (number, value) in ["1.5", "1e3", "9007199254740992"].into_iter().enumerate() {
        let path = format!("/rooms/{room}/send/org.test/{number}");
        let answer = server.send(
            "PUT",
            &path,
            &alice.token,
            within("{\"b\":%}", value.as_bytes()),
        );
        expect(&answer.await, 400, "M_BAD_JSON");
    }
    // Clients order their tags by fractions.
    let tag = format!("/user/{}/rooms/{room}/tags/u.work", alice.id);
    expect_ok(server.put(&alice, &tag, json!({"order": 0.25})).await);
    let path = |txn: &str| format!("/rooms/{room}/send/org.test/{txn}");
    let long = json!({"b": "x".repeat(65_536)});
    expect(
        &server.put(&alice, &path("long"), long).await,
        413,
        "M_TOO_LARGE",
    );
    let answer = server.sync(&alice, "", "").await;
    assert!(!answer.to_string().contains("org.test"));
    expect_ok(
        server
            .put(
                &alice,
                &path("good"),
                json!({"b": 9_007_199_254_740_991_i64}),
            )
            .await,
    );
}

#[tokio::test]
async fn an_event_of_64_kib_is_sent_and_one_of_a_byte_more_is_not() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let send = async |txn: &str, bytes: usize| {
        let path = format!("/rooms/{room}/send/org.test/{txn}");
        let content = json!({"b": "x".repeat(bytes)});
        server.put(&alice, &path, content).await
    };
    // How many bytes the whole event has, as other servers get it.
    let size = async |answer: Answer| {
        let answer = expect_ok(answer);
        let id = <&EventId>::try_from(answer["event_id"].as_str().unwrap()).unwrap();
        let event = server.app.store.event(id).await.unwrap().unwrap();
        projection::federation_event(&event, 0).len()
    };
    let mut rest = 0;
    // The depth of all that counts here has two digits.
    for number in 0..12 {
        rest = size(send(&format!("small_{number}"), 0).await).await;
    }
    let before = server.app.store.heads().head();
    let larger = send("edge", PDU_BYTES_MAX - rest + 1).await;
    expect(&larger, 413, "M_TOO_LARGE");
    assert_eq!(server.app.store.heads().head(), before, "nothing is stored");
    // Under the same transaction id: what was refused has used nothing up.
    let exact = send("edge", PDU_BYTES_MAX - rest).await;
    assert_eq!(size(exact).await, PDU_BYTES_MAX);
}

/// An object that a tree of values takes for something else, and cannot hold.
const ODD: &str = r#"{"$serde_json::private::RawValue":"x"}"#;

#[tokio::test]
async fn what_is_kept_as_it_came_is_given_out_as_it_came() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let backup = within(r#"{"algorithm":"m.x","auth_data":%}"#, ODD.as_bytes());
    let version = "/room_keys/version";
    expect_ok(server.send("POST", version, &alice.token, backup).await);
    let request = Request::builder()
        .uri(format!("/_matrix/client/v3{version}"))
        .header("authorization", format!("Bearer {}", alice.token))
        .body(Body::empty())
        .unwrap();
    let shown = server.router.clone().oneshot(request).await.unwrap();
    assert_eq!(shown.status(), 200);
    let bytes = shown.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(&format!("\"auth_data\":{ODD}")), "{text}");
    let key =
        r#"{"first_message_index":0,"forwarded_count":0,"is_verified":false,"session_data":%}"#;
    let path = "/room_keys/keys/!room:x.org/session?version=1";
    expect_ok(
        server
            .send("PUT", path, &alice.token, within(key, ODD.as_bytes()))
            .await,
    );
    for path in [
        "/room_keys/keys?version=1",
        "/room_keys/keys/!room:x.org?version=1",
    ] {
        let (status, _) = server.get(&alice, path).await;
        assert_eq!(status, 200, "{path}");
    }
    // Other servers are sent it as it came, too.
    let body = within(
        r#"{"messages":{"@eve:nowhere.example":{"*":%}}}"#,
        ODD.as_bytes(),
    );
    expect_ok(
        server
            .send("PUT", "/sendToDevice/m.test/1", &alice.token, body)
            .await,
    );
}
