//! Making, changing and ending accounts.

use super::*;
use crate::{
    accounts::admin,
    config::{RegistrationMode, Secret},
};

#[tokio::test]
async fn a_stranger_registers_and_is_logged_in() {
    let server = Server::start().await;
    let body = json!({"username": "alice", "password": PASSWORD});
    let (status, challenge) = server.call("POST", "/register", "", body).await;
    assert_eq!(status, 401);
    assert_eq!(challenge["flows"], json!([{"stages": ["m.login.dummy"]}]));
    let body = json!({
        "username": "alice", "password": PASSWORD, "device_id": "PHONE",
        "auth": {"type": "m.login.dummy", "session": challenge["session"]},
    });
    let answer = expect_ok(server.call("POST", "/register", "", body).await);
    let alice = user_of(&answer);
    assert_eq!(
        (&*alice.id, &*alice.device),
        ("@alice:example.org", "PHONE")
    );
    let answer = expect_ok(server.get(&alice, "/account/whoami").await);
    assert_eq!(answer, json!({"user_id": alice.id, "device_id": "PHONE"}));
}

#[tokio::test]
async fn names_are_valid_and_given_once() {
    let server = Server::start().await;
    server.register("alice").await;
    let auth = json!({"type": "m.login.dummy"});
    for (name, errcode) in [
        ("alice", "M_USER_IN_USE"),
        ("Alice", "M_USER_IN_USE"),
        ("", "M_INVALID_USERNAME"),
        ("@bob:example.org", "M_INVALID_USERNAME"),
        ("a:b", "M_INVALID_USERNAME"),
        ("a b", "M_INVALID_USERNAME"),
        ("a\u{0}b", "M_INVALID_USERNAME"),
        (&"x".repeat(300), "M_INVALID_USERNAME"),
    ] {
        let body = json!({"username": name, "password": PASSWORD, "auth": auth});
        expect(
            &server.call("POST", "/register", "", body).await,
            400,
            errcode,
        );
    }
    let available = |name: &str| format!("/register/available?username={name}");
    let taken = server
        .call("GET", &available("alice"), "", Value::Null)
        .await;
    expect(&taken, 400, "M_USER_IN_USE");
    let free = server.call("GET", &available("bob"), "", Value::Null).await;
    assert_eq!(expect_ok(free), json!({"available": true}));
    let weak = json!({"username": "bob", "password": "short", "auth": auth});
    expect(
        &server.call("POST", "/register", "", weak).await,
        400,
        "M_WEAK_PASSWORD",
    );
    let guest = server
        .call("POST", "/register?kind=guest", "", json!({}))
        .await;
    expect(&guest, 403, "M_GUEST_ACCESS_FORBIDDEN");
}

#[tokio::test]
async fn two_at_once_get_one_account() {
    let server = Server::start().await;
    let body =
        json!({"username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}});
    let (one, two) = tokio::join!(
        server.call("POST", "/register", "", body.clone()),
        server.call("POST", "/register", "", body)
    );
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test]
async fn a_closed_server_takes_nobody_and_tells_nothing() {
    let server = Server::with(|config| config.registration.mode = RegistrationMode::Closed).await;
    let body =
        json!({"username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}});
    expect(
        &server.call("POST", "/register", "", body).await,
        403,
        "M_FORBIDDEN",
    );
    let path = "/register/available?username=alice";
    expect(
        &server.call("GET", path, "", Value::Null).await,
        403,
        "M_FORBIDDEN",
    );
    let path = "/_passeur/admin/v1/register";
    expect(
        &server.call("GET", path, "", Value::Null).await,
        404,
        "M_UNRECOGNIZED",
    );
}

#[tokio::test]
async fn a_registration_token_makes_as_many_accounts_as_it_may() {
    let server = Server::with(|config| config.registration.mode = RegistrationMode::Token).await;
    let accounts = &server.app.accounts;
    admin::create_registration_token(accounts, Some("desk".into()), Some(1), None)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let register = |name: &str, token: &str| {
        let auth = json!({"type": "m.login.registration_token", "token": token});
        let body = json!({"username": name, "password": PASSWORD, "auth": auth});
        server.call("POST", "/register", "", body)
    };
    let (status, answer) = register("mallory", "wrong").await;
    assert_eq!((status, &answer["errcode"]), (401, &json!("M_FORBIDDEN")));
    assert_eq!(
        answer["flows"],
        json!([{"stages": ["m.login.registration_token"]}])
    );
    expect_ok(register("alice", "desk").await);
    assert_eq!(register("bob", "desk").await.0, 401);
    let path = "/_matrix/client/v1/register/m.login.registration_token/validity?token=desk";
    let answer = expect_ok(server.call("GET", path, "", Value::Null).await);
    assert_eq!(answer, json!({"valid": false}));
    let listed = admin::list_registration_tokens(accounts).await.unwrap();
    assert_eq!((listed[0].uses, listed[0].uses_max), (1, Some(1)));
    assert!(
        admin::revoke_registration_token(accounts, "desk")
            .await
            .unwrap()
    );
    let invalid = admin::create_registration_token(accounts, Some("a b".into()), None, None).await;
    assert!(invalid.unwrap().is_err());
}

#[tokio::test]
async fn a_program_with_the_secret_makes_accounts() {
    use hmac::{Hmac, KeyInit, Mac};
    let server = Server::with(|config| {
        config.registration.mode = RegistrationMode::Closed;
        config.registration.shared_secret = Some(Secret::new("a long shared secret"));
    })
    .await;
    let path = "/_passeur/admin/v1/register";
    let body = |nonce: &Value, secret: &str| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        let text = format!("{}\0alice\0{PASSWORD}", nonce.as_str().unwrap());
        mac.update(text.as_bytes());
        let mac: Vec<u8> = mac.finalize().into_bytes().to_vec();
        let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"nonce": nonce, "username": "alice", "password": PASSWORD, "mac": mac})
    };
    let nonce = expect_ok(server.call("GET", path, "", Value::Null).await)["nonce"].clone();
    let forged = server.call("POST", path, "", body(&nonce, "guess")).await;
    expect(&forged, 403, "M_FORBIDDEN");
    let spent = server
        .call("POST", path, "", body(&nonce, "a long shared secret"))
        .await;
    expect(&spent, 403, "M_FORBIDDEN");
    let nonce = expect_ok(server.call("GET", path, "", Value::Null).await)["nonce"].clone();
    let answer = expect_ok(
        server
            .call("POST", path, "", body(&nonce, "a long shared secret"))
            .await,
    );
    expect_ok(server.get(&user_of(&answer), "/account/whoami").await);
}

#[tokio::test]
async fn changing_the_password_asks_for_the_old_one_and_ends_other_sessions() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let other = server.login("alice").await;
    let path = "/account/password";
    let (status, challenge) = server
        .post(&alice, path, json!({"new_password": "a new password"}))
        .await;
    assert_eq!(status, 401);
    let session = &challenge["session"];
    let mut wrong = password_auth(&alice, session);
    wrong["password"] = "nonsense nonsense".into();
    let (status, answer) = server
        .post(
            &alice,
            path,
            json!({"new_password": "a new password", "auth": wrong}),
        )
        .await;
    assert_eq!((status, &answer["errcode"]), (401, &json!("M_FORBIDDEN")));
    assert_eq!(&answer["session"], session);
    // A session of one operation is worth nothing for another, nor for another user.
    let elsewhere = json!({"auth": password_auth(&alice, session)});
    let (status, answer) = server.post(&alice, "/account/deactivate", elsewhere).await;
    assert_eq!(status, 401);
    assert_ne!(&answer["session"], session);
    let body = json!({"new_password": "a new password", "auth": password_auth(&alice, session)});
    expect_ok(server.post(&alice, path, body.clone()).await);
    assert_eq!(
        server.post(&alice, path, body).await.0,
        401,
        "the session was used up"
    );
    expect_ok(server.get(&alice, "/account/whoami").await);
    expect(
        &server.get(&other, "/account/whoami").await,
        401,
        "M_UNKNOWN_TOKEN",
    );
    let old = server
        .call("POST", "/login", "", login_body("alice", PASSWORD))
        .await;
    expect(&old, 403, "M_FORBIDDEN");
    expect_ok(
        server
            .call("POST", "/login", "", login_body("alice", "a new password"))
            .await,
    );
}

#[tokio::test]
async fn a_deactivated_account_is_over_for_ever() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let public = json!({"preset": "public_chat"});
    let room = expect_ok(server.post(&bob, "/createRoom", public).await)["room_id"].clone();
    let room = format!("/rooms/{}", room.as_str().unwrap());
    expect_ok(
        server
            .post(&alice, &format!("{room}/join"), json!({}))
            .await,
    );
    let (_, challenge) = server.post(&alice, "/account/deactivate", json!({})).await;
    let body = json!({"auth": password_auth(&alice, &challenge["session"])});
    let answer = expect_ok(server.post(&alice, "/account/deactivate", body).await);
    assert_eq!(answer, json!({"id_server_unbind_result": "success"}));
    let left = server
        .get(&bob, &format!("{room}/state/m.room.member/{}", alice.id))
        .await;
    assert_eq!(expect_ok(left)["membership"], "leave");
    expect(
        &server.get(&alice, "/account/whoami").await,
        401,
        "M_UNKNOWN_TOKEN",
    );
    let login = server
        .call("POST", "/login", "", login_body("alice", PASSWORD))
        .await;
    expect(&login, 403, "M_USER_DEACTIVATED");
    let body =
        json!({"username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}});
    expect(
        &server.call("POST", "/register", "", body).await,
        400,
        "M_USER_IN_USE",
    );
}

#[tokio::test]
async fn the_operator_makes_locks_and_ends_accounts_beside_the_server() {
    let server = Server::start().await;
    let accounts = &server.app.accounts;
    let user = admin::create_user(accounts, "desk", Some(PASSWORD.into()))
        .await
        .unwrap();
    let desk = server.login("desk").await;
    assert!(admin::set_locked(accounts, &user, true).await.unwrap());
    let locked = server.get(&desk, "/account/whoami").await;
    expect(&locked, 401, "M_USER_LOCKED");
    assert_eq!(locked.1["soft_logout"], true);
    assert!(admin::set_locked(accounts, &user, false).await.unwrap());
    expect_ok(server.get(&desk, "/account/whoami").await);
    // Another process: this one's cache does not hear of it, but trusts itself for ten seconds only.
    let change = crate::store::Deactivate {
        user_id: user.clone(),
    };
    server.app.store.commit(change).await.unwrap();
    server.clock.advance(std::time::Duration::from_secs(10));
    expect(
        &server.get(&desk, "/account/whoami").await,
        401,
        "M_UNKNOWN_TOKEN",
    );
    assert_eq!(admin::list(accounts).await.unwrap().len(), 1);
    assert!(
        !admin::set_password(accounts, &user, "another password")
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn the_case_of_a_name_tells_no_two_people_apart() {
    let server = Server::start().await;
    let body = json!({
        "username": "user-UPPER", "password": PASSWORD, "auth": {"type": "m.login.dummy"},
    });
    let answer = expect_ok(server.call("POST", "/register", "", body).await);
    assert_eq!(answer["user_id"], "@user-upper:example.org");
    for name in ["User-Upper", "@USER-upper:example.org"] {
        let login = login_body(name, PASSWORD);
        let answer = expect_ok(server.call("POST", "/login", "", login).await);
        assert_eq!(answer["user_id"], "@user-upper:example.org");
    }
}

#[tokio::test]
async fn nobody_proves_with_the_password_of_another_account() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let path = format!("/devices/{}", alice.device);
    let (status, challenge) = server.call("DELETE", &path, &alice.token, json!({})).await;
    assert_eq!(status, 401);
    let body = json!({"auth": password_auth(&bob, &challenge["session"])});
    let answer = server.call("DELETE", &path, &alice.token, body).await;
    expect(&answer, 403, "M_FORBIDDEN");
    expect_ok(server.get(&alice, "/account/whoami").await);
}

#[tokio::test]
async fn a_page_stands_in_for_a_client_that_knows_no_stages() {
    let server = Server::start().await;
    let body = json!({"username": "alice", "password": PASSWORD});
    let (status, challenge) = server.call("POST", "/register", "", body.clone()).await;
    assert_eq!(status, 401);
    let session = challenge["session"].as_str().unwrap();
    let path = |stage: &str, session: &str| {
        format!("/_matrix/client/v3/auth/{stage}/fallback/web?session={session}")
    };
    let fetch = async |method: &str, path: String, form: String| {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::from(form)).unwrap();
        let response = server.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    };
    let (status, page) = fetch("GET", path("m.login.dummy", session), String::new()).await;
    assert_eq!(status, 200);
    assert!(page.contains(session));
    for (stage, session) in [("m.login.password", session), ("m.login.dummy", "nosuch")] {
        let (status, _) = fetch("GET", path(stage, session), String::new()).await;
        assert_eq!(status, 404);
    }
    let mut acknowledged = body;
    acknowledged["auth"] = json!({"session": session});
    let early = server
        .call("POST", "/register", "", acknowledged.clone())
        .await;
    assert_eq!(early.0, 401);
    let form = format!("session={session}");
    let (status, page) = fetch("POST", path("m.login.dummy", session), form).await;
    assert_eq!(status, 200);
    assert!(page.contains("onAuthDone"));
    let answer = server.call("POST", "/register", "", acknowledged).await;
    assert_eq!(expect_ok(answer)["user_id"], "@alice:example.org");
}

#[tokio::test]
async fn an_account_is_ended_by_its_password_without_a_token() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let path = "/account/deactivate";
    let deactivate = async |body: Value| server.call("POST", path, "", body).await;
    let (status, challenge) = deactivate(json!({})).await;
    assert_eq!(status, 401);
    assert_eq!(
        challenge["flows"],
        json!([{"stages": ["m.login.password"]}])
    );
    let session = &challenge["session"];
    let mut wrong = password_auth(&alice, session);
    wrong["password"] = json!("guessed");
    let (status, again) = deactivate(json!({"auth": wrong})).await;
    assert_eq!((status, &again["errcode"]), (401, &json!("M_FORBIDDEN")));
    assert_eq!(&again["session"], session);
    // A session that was opened with a token is of that user alone.
    let (_, bobs) = server.post(&bob, path, json!({})).await;
    let body = json!({"auth": password_auth(&alice, &bobs["session"])});
    assert_eq!(deactivate(body).await.0, 401);
    let bad = server.call("POST", path, "bad", json!({})).await;
    expect(&bad, 401, "M_UNKNOWN_TOKEN");
    expect_ok(server.get(&alice, "/account/whoami").await);
    let body = json!({"auth": password_auth(&alice, session)});
    let answer = expect_ok(deactivate(body).await);
    assert_eq!(answer, json!({"id_server_unbind_result": "success"}));
    let ended = server.get(&alice, "/account/whoami").await;
    expect(&ended, 401, "M_UNKNOWN_TOKEN");
    expect_ok(server.get(&bob, "/account/whoami").await);
}
