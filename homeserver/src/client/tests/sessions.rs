//! Logging in, tokens and their theft, devices.

use std::time::Duration;

use super::*;
use crate::http::token::ACCESS_TOKEN_LIFETIME;

async fn refreshable(server: &Server, name: &str) -> Value {
    let mut body = login_body(name, PASSWORD);
    body["refresh_token"] = true.into();
    expect_ok(server.call("POST", "/login", "", body).await)
}

async fn refresh(server: &Server, tokens: &Value) -> Answer {
    let body = json!({"refresh_token": tokens["refresh_token"]});
    server.call("POST", "/refresh", "", body).await
}

async fn whoami(server: &Server, tokens: &Value) -> Answer {
    let token = tokens["access_token"].as_str().unwrap();
    server
        .call("GET", "/account/whoami", token, Value::Null)
        .await
}

#[tokio::test]
async fn unknown_accounts_and_wrong_passwords_look_the_same() {
    let server = Server::start().await;
    server.register("alice").await;
    let wrong = server
        .call("POST", "/login", "", login_body("alice", "nonsense"))
        .await;
    let unknown = server
        .call("POST", "/login", "", login_body("nobody", "nonsense"))
        .await;
    let foreign = server
        .call(
            "POST",
            "/login",
            "",
            login_body("@alice:evil.org", PASSWORD),
        )
        .await;
    expect(&wrong, 403, "M_FORBIDDEN");
    assert_eq!(wrong, unknown);
    assert_eq!(wrong, foreign);
    for name in ["alice", "@alice:example.org"] {
        server.login(name).await;
    }
    let old = json!({"type": "m.login.password", "user": "alice", "password": PASSWORD});
    expect_ok(server.call("POST", "/login", "", old).await);
    let other = server
        .call(
            "POST",
            "/login",
            "",
            json!({"type": "org.example.dance", "token": "x"}),
        )
        .await;
    expect(&other, 400, "M_UNKNOWN");
    expect(
        &server.send("POST", "/login", "", "{".into()).await,
        400,
        "M_NOT_JSON",
    );
    expect(
        &server.call("POST", "/login", "", json!({"type": 3})).await,
        400,
        "M_BAD_JSON",
    );
}

#[tokio::test]
async fn bad_tokens_are_refused_by_their_kind() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let missing = server.call("GET", "/account/whoami", "", Value::Null).await;
    expect(&missing, 401, "M_MISSING_TOKEN");
    let (head, signature) = alice.token.rsplit_once('.').unwrap();
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJAYWxpY2U6ZXhhbXBsZS5vcmcifQ.".to_owned();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{other}{}", &signature[1..]);
    for token in [unsigned, forged, "x".repeat(100_000), "a.b.c".into()] {
        let answer = server
            .call("GET", "/account/whoami", &token, Value::Null)
            .await;
        expect(&answer, 401, "M_UNKNOWN_TOKEN");
        assert_ne!(answer.1["soft_logout"], true);
    }
    let path = format!("/account/whoami?access_token={}", alice.token);
    expect_ok(server.call("GET", &path, "", Value::Null).await);
    // A refresh token is no access token, nor the other way round.
    let tokens = refreshable(&server, "alice").await;
    let swapped =
        json!({"access_token": tokens["refresh_token"], "refresh_token": tokens["access_token"]});
    expect(&whoami(&server, &swapped).await, 401, "M_UNKNOWN_TOKEN");
    expect(&refresh(&server, &swapped).await, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn a_token_outlives_a_restart_but_not_its_session() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let server = server.restart().await;
    server.clock.advance(Duration::from_secs(365 * 24 * 3600));
    expect_ok(server.get(&alice, "/account/whoami").await);
    expect_ok(server.post(&alice, "/logout", json!({})).await);
    let over = server.get(&alice, "/account/whoami").await;
    expect(&over, 401, "M_UNKNOWN_TOKEN");
    assert_ne!(over.1["soft_logout"], true);
}

#[tokio::test]
async fn an_expired_token_says_soft_logout_only_while_its_session_lives() {
    let server = Server::start().await;
    server.register("alice").await;
    let tokens = refreshable(&server, "alice").await;
    assert_eq!(tokens["expires_in_ms"], 300_000);
    expect_ok(whoami(&server, &tokens).await);
    server
        .clock
        .advance(ACCESS_TOKEN_LIFETIME + Duration::from_secs(1));
    let expired = whoami(&server, &tokens).await;
    expect(&expired, 401, "M_UNKNOWN_TOKEN");
    assert_eq!(expired.1["soft_logout"], true);
    let fresh = expect_ok(refresh(&server, &tokens).await);
    let user = User {
        token: fresh["access_token"].as_str().unwrap().into(),
        ..user_of(&tokens)
    };
    expect_ok(server.post(&user, "/logout/all", json!({})).await);
    let over = whoami(&server, &tokens).await;
    expect(&over, 401, "M_UNKNOWN_TOKEN");
    assert_ne!(over.1["soft_logout"], true);
    let over = refresh(&server, &fresh).await;
    expect(&over, 401, "M_UNKNOWN_TOKEN");
    assert_ne!(over.1["soft_logout"], true);
}

#[tokio::test]
async fn a_lost_answer_to_a_refresh_loses_nothing() {
    let server = Server::start().await;
    server.register("alice").await;
    let first = refreshable(&server, "alice").await;
    let lost = expect_ok(refresh(&server, &first).await);
    // The client never saw it, and tries again; even after a restart.
    let server = server.restart().await;
    let second = expect_ok(refresh(&server, &first).await);
    expect_ok(whoami(&server, &second).await);
    let dropped = whoami(&server, &lost).await;
    expect(&dropped, 401, "M_UNKNOWN_TOKEN");
    assert_eq!(dropped.1["soft_logout"], true);
    expect(&refresh(&server, &lost).await, 401, "M_UNKNOWN_TOKEN");
    expect_ok(whoami(&server, &second).await);
    // Using the successor's refresh token counts as using it.
    let third = expect_ok(refresh(&server, &second).await);
    let fourth = expect_ok(refresh(&server, &third).await);
    expect_ok(whoami(&server, &fourth).await);
}

#[tokio::test]
async fn a_stolen_refresh_token_ends_the_session_for_both() {
    let server = Server::start().await;
    server.register("alice").await;
    let first = refreshable(&server, "alice").await;
    let thief = expect_ok(refresh(&server, &first).await);
    expect_ok(whoami(&server, &thief).await);
    let victim = refresh(&server, &first).await;
    expect(&victim, 401, "M_UNKNOWN_TOKEN");
    expect(&whoami(&server, &thief).await, 401, "M_UNKNOWN_TOKEN");
    expect(&refresh(&server, &thief).await, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn open_requests_hear_of_the_end_of_their_session() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let requester = server
        .app
        .authenticator
        .authenticate(&alice.token)
        .await
        .unwrap();
    let app = server.app.clone();
    let open =
        tokio::spawn(async move { app.accounts.sessions().ended(&requester.session_id).await });
    server.clock.wait_for_sleepers(1).await;
    assert!(!open.is_finished());
    expect_ok(server.post(&alice, "/logout", json!({})).await);
    open.await.unwrap();
}

#[tokio::test]
async fn devices_are_listed_renamed_and_deleted() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let other = server.login("alice").await;
    let bob = server.register("bob").await;
    let path = format!("/devices/{}", other.device);
    expect_ok(
        server
            .put(&alice, &path, json!({"display_name": "Desk"}))
            .await,
    );
    let device = expect_ok(server.get(&alice, &path).await);
    assert_eq!(device["display_name"], "Desk");
    assert_eq!(
        device["last_seen_ts"],
        MockClock::START_MS,
        "the day, and no more"
    );
    assert_eq!(device["last_seen_ip"], Value::Null);
    expect(&server.get(&bob, &path).await, 404, "M_NOT_FOUND");
    expect(
        &server.put(&bob, &path, json!({"display_name": "x"})).await,
        404,
        "M_NOT_FOUND",
    );
    let (status, challenge) = server.call("DELETE", &path, &alice.token, json!({})).await;
    assert_eq!(status, 401);
    let body = json!({"auth": password_auth(&alice, &challenge["session"])});
    expect_ok(server.call("DELETE", &path, &alice.token, body).await);
    expect(
        &server.get(&other, "/account/whoami").await,
        401,
        "M_UNKNOWN_TOKEN",
    );
    let devices = expect_ok(server.get(&alice, "/devices").await);
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
    let (_, challenge) = server
        .post(&bob, "/delete_devices", json!({"devices": [alice.device]}))
        .await;
    let body =
        json!({"devices": [alice.device], "auth": password_auth(&bob, &challenge["session"])});
    expect_ok(server.post(&bob, "/delete_devices", body).await);
    expect_ok(server.get(&alice, "/account/whoami").await);
}

#[tokio::test]
async fn logging_in_again_with_a_device_replaces_its_session() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let mut body = login_body("alice", PASSWORD);
    body["device_id"] = alice.device.clone().into();
    let again = user_of(&expect_ok(server.call("POST", "/login", "", body).await));
    assert_eq!(again.device, alice.device);
    expect(
        &server.get(&alice, "/account/whoami").await,
        401,
        "M_UNKNOWN_TOKEN",
    );
    expect_ok(server.get(&again, "/account/whoami").await);
    for device in ["", "a b", &"x".repeat(256)] {
        let mut body = login_body("alice", PASSWORD);
        body["device_id"] = device.into();
        expect(
            &server.call("POST", "/login", "", body).await,
            400,
            "M_INVALID_PARAM",
        );
    }
}

#[tokio::test]
async fn the_server_says_what_it_can_do() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let versions = expect_ok(
        server
            .call("GET", "/_matrix/client/versions", "", Value::Null)
            .await,
    );
    assert_eq!(versions["unstable_features"]["org.passeur.ws"], true);
    let capabilities = expect_ok(server.get(&alice, "/capabilities").await);
    assert_eq!(
        capabilities["capabilities"]["m.room_versions"]["default"],
        "12"
    );
    assert_eq!(
        capabilities["capabilities"]["m.3pid_changes"]["enabled"],
        false
    );
    let flows = expect_ok(server.call("GET", "/login", "", Value::Null).await);
    assert_eq!(
        flows,
        json!({"flows": [
            {"type": "m.login.password"}, {"type": "m.login.token", "get_login_token": true},
        ]})
    );
    let unknown = server
        .call("GET", "/.well-known/matrix/client", "", Value::Null)
        .await;
    expect(&unknown, 404, "M_NOT_FOUND");
    expect(
        &server
            .call("GET", "/_matrix/client/v3/nonsense", "", Value::Null)
            .await,
        404,
        "M_UNRECOGNIZED",
    );
    expect(
        &server.call("PUT", "/login", "", json!({})).await,
        405,
        "M_UNRECOGNIZED",
    );
}
