//! How a WebSocket ends, and what it holds back: a token that expires, one of another session, a client that reads nothing or
//! acknowledges nothing, a session that goes, a server that stops.

use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};

use super::{
    super::{PASSWORD, login_body, password_auth},
    socket::{Client, frame, listen, open, write},
    *,
};

/// What closed it; sync responses and pings before it are passed over.
async fn closed(client: &mut Client) -> CloseFrame {
    loop {
        match client.next().await {
            Some(Ok(Message::Close(Some(frame)))) => return frame,
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Somebody whose tokens last five minutes: as a user, and the refresh token.
async fn refreshable(server: &Server, name: &str) -> (User, String) {
    server.register(name).await;
    let mut body = login_body(name, PASSWORD);
    body["refresh_token"] = true.into();
    let answer = expect_ok(server.call("POST", "/login", "", body).await);
    let refresh = answer["refresh_token"].as_str().unwrap().to_owned();
    (super::super::user_of(&answer), refresh)
}

#[tokio::test]
async fn it_ends_with_its_token_unless_a_newer_one_of_the_session_came() {
    let server = Server::start().await;
    let (alice, refresh_token) = refreshable(&server, "alice").await;
    let url = listen(&server, true).await;
    let mut left = open(&url, &alice).await;
    let mut renewed = open(&url, &alice).await;
    for client in [&mut left, &mut renewed] {
        let first = frame(client).await;
        write(client, json!({"ack": first["next_batch"]})).await;
    }
    server.clock.advance(Duration::from_secs(240));
    let body = json!({"refresh_token": refresh_token});
    let fresh = expect_ok(server.call("POST", "/refresh", "", body).await);
    write(
        &mut renewed,
        json!({"refresh": {"access_token": fresh["access_token"]}}),
    )
    .await;
    // An answer to what follows says that the token has been taken.
    let unknown = json!({"send": {"room_id": "!unknown:example.org", "type": "m.a", "txn_id": "t", "content": {}}});
    write(&mut renewed, unknown.clone()).await;
    assert_eq!(frame(&mut renewed).await["failed"]["txn_id"], "t");
    server.clock.advance(Duration::from_secs(61));
    let frame_of_end = closed(&mut left).await;
    assert_eq!(u16::from(frame_of_end.code), 1008);
    assert_eq!(frame_of_end.reason.as_str(), "the access token has expired");
    write(&mut renewed, unknown).await;
    assert_eq!(frame(&mut renewed).await["failed"]["txn_id"], "t");
}

#[tokio::test]
async fn a_token_of_another_session_ends_it() {
    let server = Server::start().await;
    let (alice, _) = refreshable(&server, "alice").await;
    let tablet = server.login("alice").await;
    let bob = server.register("bob").await;
    let url = listen(&server, true).await;
    for other in [&tablet.token, &bob.token, &"none".to_owned()] {
        let mut client = open(&url, &alice).await;
        write(&mut client, json!({"refresh": {"access_token": other}})).await;
        let end = closed(&mut client).await;
        assert_eq!(
            (u16::from(end.code), end.reason.as_str()),
            (1008, "M_UNKNOWN_TOKEN")
        );
    }
    // Its own is taken, the one that it came with too.
    let mut client = open(&url, &alice).await;
    frame(&mut client).await;
    write(
        &mut client,
        json!({"refresh": {"access_token": alice.token}}),
    )
    .await;
    let unknown = json!({"send": {"room_id": "!unknown:example.org", "type": "m.a", "txn_id": "t", "content": {}}});
    write(&mut client, unknown).await;
    assert_eq!(frame(&mut client).await["failed"]["txn_id"], "t");
}

#[tokio::test]
async fn a_client_that_acknowledges_nothing_is_told_no_more_until_it_does() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let url = listen(&server, true).await;
    let mut client = open(&url, &alice).await;
    let mut unacknowledged = vec![next(&frame(&mut client).await)];
    while unacknowledged.len() < 8 {
        server
            .say(&alice, &room, &format!("m{}", unacknowledged.len()))
            .await;
        unacknowledged.push(next(&frame(&mut client).await));
    }
    server.say(&alice, &room, "held back").await;
    for number in 0..5 {
        // Answers come all the same, and nothing between them.
        let txn_id = format!("t{number}");
        let unknown = json!({"send": {"room_id": "!unknown:example.org", "type": "m.a", "txn_id": txn_id, "content": {}}});
        write(&mut client, unknown).await;
        assert_eq!(frame(&mut client).await["failed"]["txn_id"], txn_id);
    }
    write(&mut client, json!({"ack": unacknowledged[0]})).await;
    let told = frame(&mut client).await;
    let told = &told["rooms"]["join"][&room]["timeline"]["events"];
    assert_eq!(bodies(told), ["held back"]);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_let_go_of() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let url = listen(&server, true).await;
    let mut silent = open(&url, &alice).await;
    let mut alive = open(&url, &alice).await;
    frame(&mut silent).await;
    frame(&mut alive).await;
    for _ in 0..5 {
        settle(&server, 2).await;
        server.clock.advance(Duration::from_secs(30));
        // Reading answers the ping, and its writing flushes that.
        let ping = alive.next().await.unwrap().unwrap();
        assert!(matches!(ping, Message::Ping(_)), "{ping:?}");
        let unknown = json!({"send": {"room_id": "!unknown:example.org", "type": "m.a", "txn_id": "t", "content": {}}});
        write(&mut alive, unknown).await;
        assert_eq!(frame(&mut alive).await["failed"]["txn_id"], "t");
    }
    // It learns so by the closing frame, or by not being able to answer the pings that it reads only now.
    while let Some(Ok(message)) = silent.next().await {
        if let Message::Close(Some(end)) = message {
            assert_eq!(end.reason.as_str(), "no answer");
            break;
        }
    }
}

#[tokio::test]
async fn it_ends_with_its_session_and_with_the_server() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let (laptop, tablet) = (server.login("alice").await, server.login("alice").await);
    let url = listen(&server, true).await;
    let mut of_laptop = open(&url, &laptop).await;
    let mut of_tablet = open(&url, &tablet).await;
    let mut of_alice = open(&url, &alice).await;
    let path = format!("/devices/{}", laptop.device);
    let asked = server.call("DELETE", &path, &alice.token, json!({})).await;
    assert_eq!(asked.0, 401, "{}", asked.1);
    let auth = json!({"auth": password_auth(&alice, &asked.1["session"])});
    expect_ok(server.call("DELETE", &path, &alice.token, auth).await);
    assert_eq!(
        closed(&mut of_laptop).await.reason.as_str(),
        "M_UNKNOWN_TOKEN"
    );
    let body = json!({"new_password": "another password"});
    let asked = server.post(&alice, "/account/password", body.clone()).await;
    assert_eq!(asked.0, 401, "{}", asked.1);
    let mut body = body;
    body["auth"] = password_auth(&alice, &asked.1["session"]);
    expect_ok(server.post(&alice, "/account/password", body).await);
    assert_eq!(
        closed(&mut of_tablet).await.reason.as_str(),
        "M_UNKNOWN_TOKEN"
    );
    server.app.drain.begin();
    let end = closed(&mut of_alice).await;
    assert_eq!(
        (u16::from(end.code), end.reason.as_str()),
        (1001, "the server stops")
    );
}
