//! What our own people are told of what other servers answer.

use super::*;

/// One of our people, with a client.
pub(super) struct Ann<'a> {
    world: &'a World,
    router: Router,
    token: String,
}

impl World {
    pub(super) async fn ann(&self) -> Ann<'_> {
        let mut ann = Ann {
            world: self,
            router: router::client(&self.app),
            token: String::new(),
        };
        let account = json!({
            "username": "ann", "password": "quetzal feathers", "auth": {"type": "m.login.dummy"},
        });
        let (status, answer) = ann.call("POST", "/register", account).await;
        assert_eq!(status, 200, "{answer}");
        ann.token = answer["access_token"].as_str().unwrap().to_owned();
        ann
    }
}

impl Ann<'_> {
    pub(super) async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = match body.is_null() {
            true => Body::empty(),
            false => Body::from(body.to_string()),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/_matrix/client/v3{path}"));
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        let request = request.body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// What she is told of a request while another server answers everything by `said`.
    async fn told(&self, method: &str, path: &str, said: (u16, Value)) -> (u16, Value) {
        let (status, body) = said;
        let far = server_name!("far.org");
        let network = &self.world.network;
        network.serve(far, move |_| answer(status, body.to_string()));
        let body = match method {
            "GET" => Value::Null,
            _ => json!({}),
        };
        self.call(method, path, body).await
    }
}

fn error(errcode: &str) -> Value {
    json!({"errcode": errcode, "error": "no"})
}

#[tokio::test]
async fn a_refused_join_or_knock_is_told_with_its_reason() {
    let world = World::start().await;
    let ann = world.ann().await;
    for what in ["join", "knock"] {
        let path = format!("/{what}/!room:far.org?server_name=far.org");
        let told = async |status, body| {
            let (status, answer) = ann.told("POST", &path, (status, body)).await;
            (
                status,
                answer["errcode"].as_str().unwrap_or_default().to_owned(),
            )
        };
        for (status, errcode) in [
            (400, "M_BAD_STATE"),
            (400, "M_FORBIDDEN"),
            (403, "M_SERVER_NOT_TRUSTED"),
            (404, "M_NOT_FOUND"),
            (400, "ORG.EXAMPLE_REASON"),
        ] {
            let expected = (status, errcode.to_owned());
            assert_eq!(told(status, error(errcode)).await, expected, "{what}");
        }
        // What is wrong between servers is no fault of hers.
        for (status, errcode) in [
            (400, "M_INVALID_PARAM"),
            (400, "M_MISSING_PARAM"),
            (401, "M_UNAUTHORIZED"),
            (429, "M_LIMIT_EXCEEDED"),
            (500, "M_UNKNOWN"),
        ] {
            let expected = (502, "M_UNKNOWN".to_owned());
            assert_eq!(told(status, error(errcode)).await, expected, "{what}");
        }
    }
}

#[tokio::test]
async fn the_version_of_a_room_that_cannot_be_joined_is_told() {
    let world = World::start().await;
    let ann = world.ann().await;
    let path = "/join/!room:far.org?server_name=far.org";
    let mut refusal = error("M_INCOMPATIBLE_ROOM_VERSION");
    refusal["room_version"] = json!("99");
    let template = json!({"room_version": "99", "event": {"type": "m.room.member"}});
    for said in [(400, refusal), (200, template)] {
        let (status, told) = ann.told("POST", path, said).await;
        assert_eq!(
            (status, &told["errcode"]),
            (400, &json!("M_INCOMPATIBLE_ROOM_VERSION"))
        );
        assert_eq!(told["room_version"], "99");
    }
}

#[tokio::test]
async fn an_alias_that_nobody_can_ask_for_is_not_one_that_is_not_there() {
    let world = World::start().await;
    let ann = world.ann().await;
    let path = "/directory/room/%23news%3Afar.org";
    let unknown = ann.told("GET", path, (404, error("M_NOT_FOUND"))).await;
    assert_eq!(
        (unknown.0, &unknown.1["errcode"]),
        (404, &json!("M_NOT_FOUND"))
    );
    assert_eq!(ann.told("GET", path, (500, json!({}))).await.0, 502);
    world.network.remove(server_name!("far.org"));
    assert_eq!(ann.call("GET", path, Value::Null).await.0, 502);
    let join = ann.call("POST", "/join/%23news%3Afar.org", json!({})).await;
    assert_eq!(join.0, 502, "{}", join.1);
    // A canonical alias must be seen to lead to its room.
    let room = ann.call("POST", "/createRoom", json!({})).await.1;
    let room = room["room_id"].as_str().unwrap();
    let path = format!("/rooms/{room}/state/m.room.canonical_alias");
    let body = json!({"alias": "#news:far.org"});
    let refused = ann.call("PUT", &path, body).await;
    assert_eq!(
        (refused.0, &refused.1["errcode"]),
        (400, &json!("M_BAD_ALIAS"))
    );
}

#[tokio::test]
async fn a_profile_that_another_server_does_not_show_is_forbidden() {
    let world = World::start().await;
    let ann = world.ann().await;
    let path = "/profile/@bob:far.org";
    for (said, told) in [(403, 403), (404, 404), (500, 502)] {
        let refusal = error("M_FORBIDDEN");
        assert_eq!(ann.told("GET", path, (said, refusal)).await.0, told);
    }
}
