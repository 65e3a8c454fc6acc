//! Sync and sending over a WebSocket.

use std::net::{IpAddr, Ipv4Addr};

use axum::{Extension, middleware::from_fn_with_state};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

use super::{super::Router, *};
use crate::{
    clock::SeededRng,
    config::{RateLimit, RateLimitsConfig},
    http::{
        peer::Peer,
        rate_limit::{RateLimiter, admit},
    },
};

pub(super) type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Serves on a port of its own, as if by TLS or not.
pub(super) async fn listen(server: &Server, secure: bool) -> String {
    serve(server.router.clone(), secure).await
}

async fn serve(router: Router, secure: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = Peer {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        secure,
    };
    let router = router.layer(Extension(peer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("ws://{address}/_matrix/client/unstable/org.passeur.ws/sync")
}

pub(super) async fn open(url: &str, user: &User) -> Client {
    let mut request = url.into_client_request().unwrap();
    let protocols = format!("org.passeur.ws, org.passeur.ws.token.{}", user.token);
    let protocols = HeaderValue::from_str(&protocols).unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocols);
    connect_async(request).await.unwrap().0
}

pub(super) async fn frame(client: &mut Client) -> Value {
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

pub(super) async fn write(client: &mut Client, frame: Value) {
    client.send(Message::text(frame.to_string())).await.unwrap();
}

#[tokio::test]
async fn a_socket_tells_what_happens_and_takes_sends() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let url = listen(&server, true).await;
    let mut client = open(&url, &bob).await;
    let first = frame(&mut client).await;
    assert!(first["rooms"]["join"].get(&room).is_some());
    write(&mut client, json!({"ack": first["next_batch"]})).await;
    server.say(&alice, &room, "hello").await;
    let second = frame(&mut client).await;
    assert_eq!(
        bodies(&second["rooms"]["join"][&room]["timeline"]["events"]),
        ["hello"]
    );
    let send = json!({"send": {
        "room_id": room, "type": "m.room.message", "txn_id": "t1",
        "content": {"msgtype": "m.text", "body": "over the socket"},
    }});
    write(&mut client, send.clone()).await;
    write(&mut client, send).await;
    let mut sent = Vec::new();
    let mut told = Vec::new();
    while sent.len() < 2 || told.is_empty() {
        let frame = frame(&mut client).await;
        if let Some(answer) = frame.get("sent") {
            assert_eq!(answer["txn_id"], "t1");
            sent.push(answer["event_id"].clone());
        } else {
            told.extend(bodies(&frame["rooms"]["join"][&room]["timeline"]["events"]));
        }
    }
    assert_eq!(sent[0], sent[1]);
    assert_eq!(told, ["over the socket"]);
    let unknown = json!({"send": {
        "room_id": "!unknown:example.org", "type": "m.room.message", "txn_id": "t2", "content": {},
    }});
    write(&mut client, unknown).await;
    let failed = frame(&mut client).await;
    assert_eq!(failed["failed"]["errcode"], "M_FORBIDDEN");
    write(&mut client, json!({"ack": "s1_1_1"})).await;
    assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
}

#[tokio::test]
async fn an_acknowledgement_deletes_messages_to_the_device() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let since = next(&server.sync(&bob, "", "").await);
    let content = json!({"messages": {&bob.id: {&bob.device: {"hello": 1}}}});
    expect_ok(
        server
            .put(&alice, "/sendToDevice/org.example.hello/1", content)
            .await,
    );
    let url = listen(&server, true).await;
    let mut client = open(&format!("{url}?since={since}"), &bob).await;
    let told = frame(&mut client).await;
    assert_eq!(told["to_device"]["events"].as_array().unwrap().len(), 1);
    drop(client);
    let mut client = open(&format!("{url}?since={since}"), &bob).await;
    let told = frame(&mut client).await;
    assert_eq!(
        told["to_device"]["events"].as_array().unwrap().len(),
        1,
        "never acknowledged"
    );
    write(&mut client, json!({"ack": told["next_batch"]})).await;
    write(&mut client, json!({"ack": "unknown"})).await;
    // Closed for the second acknowledgement, so the first has been dealt with.
    while !matches!(
        client.next().await,
        None | Some(Ok(Message::Close(_)) | Err(_))
    ) {}
    let answer = server.sync(&bob, &since, "").await;
    assert!(answer.get("to_device").is_none());
}

#[tokio::test]
async fn a_socket_needs_tls_and_a_live_session() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let plain = listen(&server, false).await;
    let mut request = plain.into_client_request().unwrap();
    let bearer = HeaderValue::from_str(&format!("Bearer {}", alice.token)).unwrap();
    request.headers_mut().insert("authorization", bearer);
    assert!(connect_async(request).await.is_err());
    let url = listen(&server, true).await;
    let in_url = format!("{url}?access_token={}", alice.token);
    assert!(
        connect_async(in_url.into_client_request().unwrap())
            .await
            .is_err()
    );
    let mut client = open(&url, &alice).await;
    let first = frame(&mut client).await;
    write(&mut client, json!({"ack": first["next_batch"]})).await;
    expect_ok(server.post(&alice, "/logout", Value::Null).await);
    // The device that went is news of its own, and may come first.
    let mut frame = client.next().await;
    if matches!(frame, Some(Ok(Message::Text(_)))) {
        frame = client.next().await;
    }
    assert!(
        matches!(frame, Some(Ok(Message::Close(Some(_))))),
        "{frame:?}"
    );
}

#[tokio::test]
async fn what_is_sent_over_a_socket_is_limited_as_by_request() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let limits = RateLimitsConfig {
        message: RateLimit::new(0.001, 2),
        ..RateLimitsConfig::default()
    };
    let (clock, rng) = (server.clock.clone(), SeededRng::new(9));
    let limiter = RateLimiter::new(
        &limits,
        std::sync::Arc::new(clock),
        std::sync::Arc::new(rng),
    );
    let layer = from_fn_with_state(std::sync::Arc::new(limiter), admit);
    let url = serve(server.router.clone().layer(layer), true).await;
    let mut client = open(&url, &alice).await;
    for number in 0..3 {
        let send = json!({"send": {
            "room_id": room, "type": "m.room.message", "txn_id": format!("t{number}"),
            "content": {"msgtype": "m.text", "body": "quick"},
        }});
        write(&mut client, send).await;
    }
    let (mut sent, mut failed) = (0, Vec::new());
    while sent + failed.len() < 3 {
        let frame = frame(&mut client).await;
        sent += usize::from(frame.get("sent").is_some());
        failed.extend(frame.get("failed").cloned());
    }
    assert_eq!(sent, 2);
    assert_eq!(failed[0]["errcode"], "M_LIMIT_EXCEEDED");
}
