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
    let path = "/_matrix/federation/v1/user/devices/@alice:here.org";
    // Where profiles are public, there is nothing to be hidden.
    let world = World::start().await;
    world.alice_is_there().await;
    assert_eq!(world.ask("GET", path, Value::Null).await.0, 200);
    let nobody = path.replace("alice", "nobody");
    assert_eq!(world.ask("GET", &nobody, Value::Null).await.0, 404);
    let world = World::with(|config| config.profiles.public = false).await;
    let before = world.ask("GET", path, Value::Null).await;
    let nobody = world.ask("GET", &nobody, Value::Null).await;
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
    // Neither is a field that is not set.
    world.alice_is_there().await;
    let path = path.replace("nobody", "alice");
    assert_eq!(world.ask("GET", &path, Value::Null).await, (200, json!({})));
    let field = format!("{path}&field=avatar_url");
    let (status, error) = world.ask("GET", &field, Value::Null).await;
    assert_eq!((status, &error["errcode"]), (404, &json!("M_NOT_FOUND")));
}

#[tokio::test]
async fn a_notary_that_knows_nothing_of_a_server_says_so_by_an_empty_list() {
    let world = World::start().await;
    let path = "/_matrix/key/v2/query/";
    let known = world
        .ask("GET", &format!("{path}peer.org"), Value::Null)
        .await;
    assert_eq!(known.1["server_keys"].as_array().unwrap().len(), 1);
    let unknown = world
        .ask("GET", &format!("{path}gone.org"), Value::Null)
        .await;
    assert_eq!(unknown, (200, json!({"server_keys": []})));
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

#[tokio::test]
async fn the_directory_shows_a_server_only_rooms_that_it_may_enter() {
    let world = World::start().await;
    let path = "/_matrix/federation/v1/publicRooms";
    let room = world.shared_room().await;
    let listed = async |method, body| {
        let (status, page) = world.ask(method, path, body).await;
        assert_eq!(status, 200, "{page}");
        page["chunk"].as_array().unwrap().len()
    };
    assert_eq!(listed("GET", Value::Null).await, 0);
    world.app.rooms.publish(room.clone(), true).await.unwrap();
    assert_eq!(listed("GET", Value::Null).await, 1);
    let none = json!({"filter": {"generic_search_term": "nothing"}});
    assert_eq!(listed("POST", none).await, 0);
    assert_eq!(listed("POST", json!({"filter": {}})).await, 1);
    let (status, error) = world
        .ask(
            "GET",
            &format!("{path}?third_party_instance_id=irc"),
            Value::Null,
        )
        .await;
    assert_eq!(
        (status, error["errcode"].as_str()),
        (400, Some("M_INVALID_PARAM"))
    );
    world.deny(&room, "peer.org").await;
    assert_eq!(listed("GET", Value::Null).await, 0);
}

#[tokio::test]
async fn whoever_shares_nothing_learns_nothing_of_who_exists() {
    let world = World::with(|config| config.profiles.public = false).await;
    let closed = world.shared_room().await;
    world.set(&closed, Membership::Leave).await;
    let profile = "/_matrix/federation/v1/query/profile?user_id=%40alice%3Ahere.org";
    let devices = "/_matrix/federation/v1/user/devices/@alice:here.org";
    let hierarchy = format!("/_matrix/federation/v1/hierarchy/{closed}");
    let nowhere = format!("/_matrix/federation/v1/hierarchy/{}", "!none:here.org");
    for (known, unknown, status) in [
        (profile, &*profile.replace("alice", "nobody"), 403),
        (devices, &*devices.replace("alice", "nobody"), 404),
        (&*hierarchy, &*nowhere, 404),
    ] {
        let answer = world.ask("GET", known, Value::Null).await;
        assert_eq!(answer.0, status, "{known}");
        assert_eq!(answer, world.ask("GET", unknown, Value::Null).await);
    }
    let query = async |user: &str| {
        let body = json!({"device_keys": {user: []}});
        let path = "/_matrix/federation/v1/user/keys/query";
        let (status, answer) = world.ask("POST", path, body).await;
        (status, answer["device_keys"][user].clone())
    };
    assert_eq!(
        query("@alice:here.org").await,
        query("@nobody:here.org").await
    );
    // The control: whoever shares a room is told.
    world.set(&closed, Membership::Join).await;
    for path in [devices, &*hierarchy] {
        assert_eq!(world.ask("GET", path, Value::Null).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn media_are_asked_for_by_ids_that_are_no_paths() {
    let world = World::start().await;
    for id in ["..%2F..%2Fsigning.key", "%2Fetc%2Fpasswd", "a%00b", "none"] {
        for kind in ["download", "thumbnail"] {
            let query = match kind {
                "thumbnail" => "?width=32&height=32",
                _ => "",
            };
            let path = format!("/_matrix/federation/v1/media/{kind}/{id}{query}");
            let (status, error) = world.ask("GET", &path, Value::Null).await;
            assert_eq!(
                (status, error["errcode"].as_str()),
                (404, Some("M_NOT_FOUND")),
                "{path}"
            );
        }
    }
}
