//! What other servers may ask.

use super::*;

const EXPIRY: &str = "/_matrix/federation/unstable/org.passeur/expiry";

#[tokio::test]
async fn keys_and_version_are_told_to_anyone() {
    let world = World::start().await;
    for path in ["/_matrix/key/v2/server", "/_matrix/federation/v1/version"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = world.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
    let request = Request::get(EXPIRY).body(Body::empty()).unwrap();
    let response = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 401);
    let (status, answer) = world.ask("GET", EXPIRY, Value::Null).await;
    assert_eq!((status, &answer["versions"]), (200, &json!(["1"])));
    assert!(answer["purge_lag_ms"].as_u64().unwrap() <= 60_000);
}

#[tokio::test]
async fn devices_are_told_to_servers_that_share_a_room() {
    let world = World::start().await;
    let path = "/_matrix/federation/v1/user/devices/@alice:here.org";
    let before = world.ask("GET", path, Value::Null).await;
    let nobody = world
        .ask("GET", &path.replace("alice", "nobody"), Value::Null)
        .await;
    assert_eq!(
        (before.0, &before),
        (404, &nobody),
        "who exists is not told"
    );
    world.shared_room().await;
    let (status, answer) = world.ask("GET", path, Value::Null).await;
    assert_eq!(
        (status, answer["devices"].as_array().map(Vec::len)),
        (200, Some(0))
    );
}

#[tokio::test]
async fn a_user_who_is_not_there_looks_like_one_without_devices() {
    let world = World::start().await;
    let body = json!({"device_keys": {"@nobody:here.org": [], "@carol:third.org": []}});
    let (status, answer) = world
        .ask("POST", "/_matrix/federation/v1/user/keys/query", body)
        .await;
    assert_eq!(
        (status, answer),
        (200, json!({"device_keys": {"@nobody:here.org": {}}}))
    );
    let body = json!({"one_time_keys": {"@carol:third.org": {"D": "signed_curve25519"}}});
    let (status, answer) = world
        .ask("POST", "/_matrix/federation/v1/user/keys/claim", body)
        .await;
    assert_eq!((status, answer), (200, json!({"one_time_keys": {}})));
}

#[tokio::test]
async fn a_token_that_names_nobody_is_refused() {
    let world = World::start().await;
    let path = "/_matrix/federation/v1/openid/userinfo?access_token=none";
    let (status, error) = world.ask("GET", path, Value::Null).await;
    assert_eq!(
        (status, error["errcode"].as_str()),
        (401, Some("M_UNKNOWN_TOKEN"))
    );
}

#[tokio::test]
async fn the_profile_of_a_user_who_is_not_there_is_not_found() {
    let world = World::start().await;
    world.shared_room().await;
    let path = "/_matrix/federation/v1/query/profile?user_id=%40nobody%3Ahere.org";
    assert_eq!(world.ask("GET", path, Value::Null).await.0, 404);
}

#[tokio::test]
async fn only_our_own_aliases_are_resolved() {
    let world = World::start().await;
    let room = world.shared_room().await;
    let alias = "#news:here.org".try_into().unwrap();
    world
        .app
        .rooms
        .make_alias(alias, room.clone(), alice().to_owned())
        .await
        .unwrap();
    let path = "/_matrix/federation/v1/query/directory?room_alias=%23news%3A";
    let (status, answer) = world
        .ask("GET", &format!("{path}here.org"), Value::Null)
        .await;
    assert_eq!(
        (status, answer["room_id"].as_str()),
        (200, Some(room.as_str()))
    );
    assert_eq!(
        world
            .ask("GET", &format!("{path}third.org"), Value::Null)
            .await
            .0,
        404
    );
}
