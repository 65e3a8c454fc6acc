//! Bodies that one reader takes and another does not: refused where they come in, because much of what clients send is kept
//! as it came and served inside other JSON.

use super::*;

/// An object of so many levels.
fn nested(levels: usize) -> String {
    format!("{}{}", r#"{"a":"#.repeat(levels - 1), "{}") + &"}".repeat(levels - 1)
}

/// Bodies that are refused, by what is put in place of a value that is an object of itself.
fn refused(body: &str) -> Vec<(Vec<u8>, &'static str)> {
    let with = |value: &str| body.replace("\"VALUE\"", value).into_bytes();
    let broken = with("{\"a\":\"@\"}");
    let broken = broken
        .iter()
        .map(|byte| if *byte == b'@' { 0xff } else { *byte })
        .collect();
    vec![
        (with(r#"{"a":1,"a":2}"#), "M_BAD_JSON"),
        // The same key by another spelling.
        (with(r#"{"a":1,"\u0061":2}"#), "M_BAD_JSON"),
        (with(&nested(101)), "M_BAD_JSON"),
        (with(&nested(10_000)), "M_BAD_JSON"),
        (broken, "M_NOT_JSON"),
        // Half of a pair of surrogates is no character.
        (with(r#"{"a":"\ud800"}"#), "M_NOT_JSON"),
        (with("{\"a\":\"\u{1}\"}"), "M_NOT_JSON"),
        (with("{\"a\":1e999}"), "M_NOT_JSON"),
        ([with("{}"), b"{}".to_vec()].concat(), "M_NOT_JSON"),
        (
            [b"[".to_vec(), with("{}"), b"]".to_vec()].concat(),
            "M_BAD_JSON",
        ),
    ]
}

/// Every endpoint that keeps a piece of its body as it came: method, path and body, in which `"VALUE"` stands for that piece.
fn kept_as_they_came(user: &User, version: &str) -> Vec<(&'static str, String, String)> {
    let session = r#"{"first_message_index":0,"forwarded_count":0,"is_verified":false,"session_data":"VALUE"}"#;
    let (id, device) = (&user.id, &user.device);
    vec![
        (
            "PUT",
            "/sendToDevice/m.test/1".to_owned(),
            format!(r#"{{"messages":{{"{id}":{{"{device}":"VALUE"}}}}}}"#),
        ),
        (
            "PUT",
            format!("/user/{id}/account_data/org.example.notes"),
            r#"{"notes":"VALUE"}"#.to_owned(),
        ),
        (
            "PUT",
            format!("/room_keys/keys/!room:example.org/session?version={version}"),
            session.to_owned(),
        ),
        (
            "PUT",
            format!("/room_keys/keys?version={version}"),
            format!(
                r#"{{"rooms":{{"!room:example.org":{{"sessions":{{"session":{session}}}}}}}}}"#
            ),
        ),
        (
            "POST",
            "/keys/upload".to_owned(),
            r#"{"one_time_keys":{"org.example:A":"VALUE"}}"#.to_owned(),
        ),
        (
            "PUT",
            format!("/profile/{id}/org.example.desk"),
            r#"{"org.example.desk":"VALUE"}"#.to_owned(),
        ),
        (
            "POST",
            format!("/user/{id}/filter"),
            r#"{"org.example.more":"VALUE"}"#.to_owned(),
        ),
        // Not kept, but read once as an object and then as a request.
        (
            "PUT",
            format!("/rooms/!room:example.org/typing/{id}"),
            r#"{"typing":true,"more":"VALUE"}"#.to_owned(),
        ),
        (
            "POST",
            "/search".to_owned(),
            r#"{"search_categories":{},"more":"VALUE"}"#.to_owned(),
        ),
    ]
}

#[tokio::test]
async fn what_another_could_not_read_is_refused_wherever_it_comes_in() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let backup = json!({"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
        "auth_data": {"public_key": "AA", "signatures": {}}});
    let version = expect_ok(server.post(&alice, "/room_keys/version", backup).await);
    let version = version["version"].as_str().unwrap().to_owned();
    let before = server.app.store.heads().head();
    for (method, path, body) in kept_as_they_came(&alice, &version) {
        for (body, errcode) in refused(&body) {
            let said = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            let answer = server
                .send(method, &path, &alice.token, Body::from(body))
                .await;
            assert_eq!(
                (answer.0, &answer.1["errcode"]),
                (400, &json!(errcode)),
                "{path} {said} {}",
                answer.1
            );
        }
    }
    assert_eq!(
        server.app.store.heads().head(),
        before,
        "nothing of it is stored"
    );
    let sync = expect_ok(server.get(&alice, "/sync").await);
    assert_eq!(
        sync["to_device"]["events"].as_array().map_or(0, Vec::len),
        0,
        "{sync}"
    );
}

/// The same bodies with what differs in nothing but its depth and its keys.
#[tokio::test]
async fn what_everybody_can_read_is_taken_to_the_limit_and_served_again() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let backup = json!({"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
        "auth_data": {"public_key": "AA", "signatures": {}}});
    let version = expect_ok(server.post(&alice, "/room_keys/version", backup).await);
    let version = version["version"].as_str().unwrap().to_owned();
    for (method, path, body) in kept_as_they_came(&alice, &version) {
        // The endpoint's own levels count as well: five of them at most but for the backup of all rooms, with seven.
        let body = body.replace("\"VALUE\"", &nested(93));
        let answer = server
            .send(method, &path, &alice.token, Body::from(body))
            .await;
        let unknown_room = path.contains("/typing/");
        assert_eq!(
            answer.0,
            if unknown_room { 403 } else { 200 },
            "{path} {}",
            answer.1
        );
    }
    // Parsers in common use, this one too, stop at 128 levels: the whole answer is still read.
    let sync = expect_ok(server.get(&alice, "/sync").await);
    assert_eq!(
        sync["to_device"]["events"].as_array().map_or(0, Vec::len),
        1,
        "{sync}"
    );
}
