//! Requests of federation that nobody has signed are refused before anything is looked at.

use passeur_tests::{Homeserver, ca::TestCa, server::TestServer, user::User};
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
async fn federation_without_a_signature_is_refused() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let alice = User::register(&server, "alice").await;
    let room = alice.create_room(json!({"preset": "public_chat"})).await;
    let transaction =
        json!({"origin": "127.0.0.1:1", "origin_server_ts": 1, "pdus": []}).to_string();
    let requests = [
        (
            Method::PUT,
            "/_matrix/federation/v1/send/t1".to_owned(),
            transaction,
        ),
        (
            Method::GET,
            format!("/_matrix/federation/v1/state/{room}?event_id=$a"),
            String::new(),
        ),
        (
            Method::GET,
            format!("/_matrix/federation/v1/make_join/{room}/@bob:127.0.0.1:1"),
            String::new(),
        ),
        (
            Method::GET,
            format!("/_matrix/federation/v1/user/devices/{}", alice.id),
            String::new(),
        ),
    ];
    for (method, path, body) in requests {
        for authorization in [
            None,
            Some(format!("Bearer {}", alice.token)),
            Some("X-Matrix origin=a,key=b,sig=c".to_owned()),
        ] {
            let mut request = ca
                .http()
                .request(method.clone(), format!("{}{path}", server.client_url()))
                .body(body.clone());
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let status = request.send().await.unwrap().status();
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
            assert!(refused, "{method} {path}: {status}");
        }
    }
}
