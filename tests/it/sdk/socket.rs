//! The SDK syncs and sends over the server's WebSocket, and does without where there is none.

use std::sync::Arc;

use passeur_sdk::{
    Client, Notification, Room,
    clock::{Clock, SystemClock},
};
use passeur_tests::{
    Homeserver,
    ca::TestCa,
    sdk::{SdkUser, builder},
    server::{Setup, TestServer},
    user::{User, WAIT_MAX},
};

use super::encrypted_room;

/// The socket's line in the server's log: one for each that was opened, when it is opened.
const SOCKET: &str = "org.passeur.ws/sync";

/// A clock that is ahead of the system's by as much as it was told.
#[derive(Debug, Default)]
struct Ahead(std::sync::atomic::AtomicU64);

impl Ahead {
    fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, std::sync::atomic::Ordering::SeqCst);
    }

    fn ms(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Clock for Ahead {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + self.ms()
    }

    fn monotonic_ms(&self) -> u64 {
        SystemClock.monotonic_ms() + self.ms()
    }
}

/// Waits until the client has a socket.
async fn wait_for_socket(client: &Client) {
    let mut notifications = client.notifications();
    if client.uses_socket() {
        return;
    }
    let opened = notifications.wait_for(WAIT_MAX, |notification| {
        (matches!(notification, Notification::Synced) && client.uses_socket()).then_some(())
    });
    opened.await.expect("a socket");
}

/// One says something and the other reads it, decrypted and from whom it is.
async fn say(from: &Room, to: &Room, text: &str) {
    let event = super::say(from, to, text).await;
    assert!(event.is_authentic());
    assert_eq!(Some(event.sender), from.client().user_id());
}

fn sockets_opened(server: &TestServer) -> usize {
    let log = server.log();
    log.lines().filter(|line| line.contains(SOCKET)).count()
}

#[tokio::test]
async fn messages_go_over_the_socket_and_over_one_that_comes_after_a_restart() {
    let ca = TestCa::new();
    let mut server = TestServer::start(&ca);
    let (alice, bob) = (
        User::register(&server, "alice").await,
        User::register(&server, "bob").await,
    );
    let room = encrypted_room(&alice).await;
    bob.join(&room, server.server_name()).await;
    let on_socket = SdkUser::login(&server, &alice.id, &ca.file()).await;
    let polling = builder(&server, &ca.file()).without_socket();
    let polling = SdkUser::login_with(polling.build().await.unwrap(), &bob.id).await;
    let members = [alice.id.as_str(), bob.id.as_str()];
    let alice_room = on_socket.wait_members(&room, &members).await;
    let bob_room = polling.wait_members(&room, &members).await;
    wait_for_socket(&on_socket.client).await;
    assert!(!polling.client.uses_socket());
    say(&alice_room, &bob_room, "quetzal: over a socket").await;
    say(&bob_room, &alice_room, "quetzal: over a poll").await;
    // The server is gone in the middle of everything, and what is said meanwhile is said afterwards.
    server.kill();
    let mut timeline = bob_room.timeline();
    let text = "quetzal: said while the server was down";
    alice_room.send_text(text).await.unwrap();
    server.restart();
    let event = timeline.wait_for_text(WAIT_MAX, text).await;
    assert!(event.expect("what was queued").is_authentic());
    say(&bob_room, &alice_room, "quetzal: after the restart").await;
    wait_for_socket(&on_socket.client).await;
    say(&alice_room, &bob_room, "quetzal: over another socket").await;
    assert!(sockets_opened(&server) >= 2);
}

#[tokio::test]
async fn a_renewed_token_is_told_in_a_frame_and_the_socket_stays() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let alice = User::register(&server, "alice").await;
    let room = encrypted_room(&alice).await;
    let clock = Arc::new(Ahead::default());
    let client = builder(&server, &ca.file()).clock(clock.clone());
    let sdk = SdkUser::login_with(client.build().await.unwrap(), &alice.id).await;
    let room = sdk.wait_members(&room, &[&alice.id]).await;
    wait_for_socket(&sdk.client).await;
    say(&room, &room, "quetzal: with the first token").await;
    let opened = sockets_opened(&server);
    let refreshed = || server.log().matches("v3/refresh").count();
    for round in 1..=2 {
        // By the client's clock the token is nearly over, so at its next look it gets another one.
        clock.advance(4 * 60 * 1000 + 30_000);
        let text = format!("quetzal: with token {round} after it");
        let mut timeline = room.timeline();
        let renewed = async {
            // Asking for anything makes it look at once.
            sdk.client.refresh().await.unwrap();
            room.send_text(&text).await.unwrap();
            timeline.wait_for_text(WAIT_MAX, &text).await
        };
        assert!(renewed.await.is_some());
        assert_eq!(refreshed(), round);
    }
    // The frame is sent at the next tick; the server would close the socket if it did not take it.
    let mut notifications = sdk.client.notifications();
    let tick = std::time::Duration::from_secs(12);
    let broken = notifications.wait_for(tick, |_| (!sdk.client.uses_socket()).then_some(()));
    assert!(broken.await.is_none(), "the socket was closed");
    say(&room, &room, "quetzal: the socket lives").await;
    assert_eq!(sockets_opened(&server), opened, "one socket for all tokens");
}

#[tokio::test]
async fn where_the_server_gives_no_socket_it_polls() {
    let ca = TestCa::new();
    let setup = Setup {
        plain: true,
        ..Setup::default()
    };
    let server = TestServer::start_as(&ca, &setup);
    let alice = User::register(&server, "alice").await;
    let room = encrypted_room(&alice).await;
    // The server offers sockets, but not on its plain listener.
    let client = builder(&server, &ca.file()).homeserver(server.plain_url().unwrap());
    let sdk = SdkUser::login_with(client.build().await.unwrap(), &alice.id).await;
    let room = sdk.wait_members(&room, &[&alice.id]).await;
    say(&room, &room, "quetzal: without a socket").await;
    assert!(!sdk.client.uses_socket());
    assert_eq!(sockets_opened(&server), 1, "it asked once");
}
