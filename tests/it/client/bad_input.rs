//! What is not as it should be is refused with the specification's error code, is not stored, and does not reach the log.

use passeur_tests::{MARKER, ca::TestCa, server::TestServer, user::User};
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// A room of Alice's, and a client that sends what no honest one would.
struct Stage {
    server: TestServer,
    alice: User,
    room: String,
    http: Client,
}

impl Stage {
    async fn start() -> Self {
        let ca = TestCa::new();
        let server = TestServer::start(&ca);
        let alice = User::register(&server, "alice").await;
        let room = alice.create_room(json!({"preset": "private_chat"})).await;
        Self {
            server,
            alice,
            room,
            http: ca.http(),
        }
    }

    /// Sends bytes as they are; status and error code.
    async fn raw(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
    ) -> (u16, String) {
        use passeur_tests::Homeserver;
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.server.client_url()))
            .body(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request
            .header("content-type", "application/json")
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert!(body["error"].is_string(), "{body}");
        (status, body["errcode"].as_str().unwrap().to_owned())
    }

    /// Sends a message whose content is `body`.
    async fn send(&self, body: impl Into<Vec<u8>>) -> (u16, String) {
        let path = format!(
            "/_matrix/client/v3/rooms/{}/send/m.room.message/bad",
            self.room
        );
        self.raw(Method::PUT, &path, Some(&self.alice.token), body.into())
            .await
    }
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_malformed_message_is_refused_and_not_stored() {
    let stage = Stage::start().await;
    let before = stage.alice.history(&stage.room).await.len();
    let text = |more: &str| format!(r#"{{"msgtype":"m.text","body":"{MARKER}: bad"{more}}}"#);
    assert_eq!(stage.send(&text("")[1..]).await, is(400, "M_NOT_JSON"));
    assert_eq!(
        stage
            .send([text(r#","a":""#).as_bytes(), b"\xff\"}"].concat())
            .await,
        is(400, "M_NOT_JSON")
    );
    assert_eq!(
        stage.send(format!("[{}]", text(""))).await,
        is(400, "M_BAD_JSON")
    );
    assert_eq!(stage.send(text(r#","a":1.5"#)).await, is(400, "M_BAD_JSON"));
    assert_eq!(
        stage.send(text(r#","a":9007199254740993"#)).await,
        is(400, "M_BAD_JSON")
    );
    assert_eq!(
        stage
            .send(text(&format!(r#","a":"{}""#, "x".repeat(65_536))))
            .await,
        is(413, "M_TOO_LARGE")
    );
    assert_eq!(
        stage.send(text(r#","a":1,"a":2"#)).await,
        is(400, "M_BAD_JSON")
    );
    let deep = format!(r#","a":{}1{}"#, r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    assert_eq!(stage.send(text(&deep)).await, is(400, "M_BAD_JSON"));
    let history = stage.alice.history(&stage.room).await;
    assert_eq!(history.len(), before, "{history:?}");
    assert!(
        !stage.server.log().contains(MARKER),
        "a refused body or a user's name is in the log"
    );
}

#[tokio::test]
async fn wrong_types_and_unknown_things_have_their_codes() {
    let stage = Stage::start().await;
    let token = Some(stage.alice.token.as_str());
    let post = Method::POST;
    let get = Method::GET;
    let raw = async |method: &Method, path: &str, body: Value| {
        stage
            .raw(
                method.clone(),
                &format!("/_matrix/client{path}"),
                token,
                body.to_string().into_bytes(),
            )
            .await
    };
    assert_eq!(
        raw(&post, "/v3/createRoom", json!({"preset": 5})).await,
        is(400, "M_BAD_JSON")
    );
    assert_eq!(
        raw(&post, "/v3/createRoom", json!({"room_version": "none"})).await,
        is(400, "M_UNSUPPORTED_ROOM_VERSION")
    );
    assert_eq!(
        raw(&get, "/v3/nothing", json!({})).await,
        is(404, "M_UNRECOGNIZED")
    );
    assert_eq!(
        raw(&Method::DELETE, "/v3/sync", json!({})).await,
        is(405, "M_UNRECOGNIZED")
    );
    assert_eq!(
        raw(&get, "/v3/devices/nowhere", json!({})).await,
        is(404, "M_NOT_FOUND")
    );
    assert_eq!(
        raw(
            &get,
            "/v3/profile/@quetzal_nobody:nowhere.invalid/displayname",
            json!({})
        )
        .await,
        // That its server cannot be reached does not say that there is no such person.
        is(502, "M_CONNECTION_FAILED")
    );
    let unknown = "!quetzal0000000000000000000000000000000000000";
    for path in ["state", "members", "joined_members", "messages?dir=b"] {
        assert_eq!(
            raw(&get, &format!("/v3/rooms/{unknown}/{path}"), json!({})).await,
            is(403, "M_FORBIDDEN"),
            "{path}"
        );
    }
    assert_eq!(
        raw(&get, "/v3/sync?since=nonsense", json!({})).await,
        is(400, "M_INVALID_PARAM")
    );
}
