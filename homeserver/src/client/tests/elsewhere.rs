//! What other servers answer, and what becomes of it for a client.

use bytes::Bytes;
use http::Response;

use super::*;

const DOWNLOAD: &str = "/_matrix/client/v1/media/download";

/// A server that gives the same answer to everything.
fn stubborn(server: &Server, status: u16, body: String) {
    server
        .network
        .serve(server_name!("evil.example"), move |_| {
            let response = Response::builder().status(status);
            response.body(Bytes::from(body.clone())).unwrap()
        });
}

#[tokio::test]
async fn keys_that_are_none_keep_nobody_from_theirs() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let own = json!({"one_time_keys": {"my_algorithm:a": "local"}});
    expect_ok(server.post(&bob, "/keys/upload", own).await);
    let good = r#"{"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","signatures":{"@x:evil.example":{}}}"#;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(150), "]".repeat(150));
    let odd = r#"{"$serde_json::private::RawValue":"x"}"#;
    let user = format!(
        r#"{{"A":{{"signed_curve25519:A":{good}}},"B":{{"signed_curve25519:B":{deep}}},"C":{{"my_algorithm:C":{odd}}}}}"#
    );
    stubborn(
        &server,
        200,
        format!(r#"{{"one_time_keys":{{"@eve:evil.example":{user}}}}}"#),
    );
    let devices = json!({
        "A": "signed_curve25519", "B": "signed_curve25519", "C": "my_algorithm",
    });
    let body = json!({"one_time_keys": {
        "@eve:evil.example": devices, bob.id.clone(): {bob.device.clone(): "my_algorithm"},
    }});
    let answer = expect_ok(server.post(&alice, "/keys/claim", body).await);
    let keys = &answer["one_time_keys"];
    assert_eq!(keys[&bob.id][&bob.device]["my_algorithm:a"], "local");
    let eves = &keys["@eve:evil.example"];
    assert!(
        eves["A"]["signed_curve25519:A"]["key"].is_string(),
        "{answer}"
    );
    assert_eq!(eves["B"], json!({}));
}

#[tokio::test]
async fn media_of_elsewhere_fail_as_they_failed_there() {
    let server = Server::with(|config| config.media.upload_bytes_max = 1024).await;
    let alice = server.register("alice").await;
    let path = format!("{DOWNLOAD}/evil.example/abc?timeout_ms=0");
    let error = |code: &str| json!({"errcode": code, "error": "no"}).to_string();
    stubborn(&server, 504, error("M_NOT_YET_UPLOADED"));
    expect(&server.get(&alice, &path).await, 504, "M_NOT_YET_UPLOADED");
    stubborn(&server, 404, error("M_NOT_FOUND"));
    expect(&server.get(&alice, &path).await, 404, "M_NOT_FOUND");
    server.network.remove(server_name!("evil.example"));
    expect(&server.get(&alice, &path).await, 502, "M_UNKNOWN");
}

#[test]
fn media_that_are_too_large_are_not_missing() {
    use crate::{http::error::ApiError, media::FetchError, outbound::RemoteError};
    let failed = ApiError::from(FetchError::from(RemoteError::TooLarge));
    let ApiError::Standard { status, kind, .. } = failed else {
        panic!("no error of a request");
    };
    assert_eq!(status, 502);
    assert_eq!(kind, ruma::api::error::ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_room_is_made_though_a_server_is_not_reached() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let body = json!({"invite": ["@eve:evil.example"], "room_alias_name": "desk"});
    server.network.remove(server_name!("evil.example"));
    let made = expect_ok(server.post(&alice, "/createRoom", body).await);
    let joined = expect_ok(server.get(&alice, "/joined_rooms").await);
    assert_eq!(joined["joined_rooms"], json!([made["room_id"]]));
    // Who says no is heard.
    let error = json!({"errcode": "M_FORBIDDEN", "error": "no"});
    stubborn(&server, 403, error.to_string());
    let body = json!({"invite": ["@eve:evil.example"]});
    let refused = server.post(&alice, "/createRoom", body).await;
    expect(&refused, 403, "M_FORBIDDEN");
}
