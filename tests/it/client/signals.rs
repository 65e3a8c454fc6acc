//! Signals: SIGHUP takes over what may change while the server runs, SIGTERM and SIGINT end it in good order, whatever hangs.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use passeur_tests::{
    Homeserver, MARKER,
    ca::TestCa,
    server::{Setup, TestServer},
    user::{PASSWORD, User},
};
use reqwest::Client;
use serde_json::json;

/// Whether a client comes through with its handshake, on a new connection.
async fn trusts(client: &Client, server: &TestServer) -> bool {
    let url = format!("{}/_matrix/client/versions", server.client_url());
    client.get(url).send().await.is_ok()
}

/// Changes the configuration as an editor does.
fn edit(server: &TestServer, from: &str, to: &str) {
    let file = server.config_file();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replace(from, to)).unwrap();
}

#[tokio::test]
async fn sighup_takes_over_certificates_the_level_and_limits() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let server = TestServer::start(&ca);
    let alice = User::register(&server, "alice").await;
    assert!(trusts(&ca.http(), &server).await && !trusts(&other.http(), &server).await);
    // A renewed certificate lies where the old one did.
    let (old, new) = (ca.issue("127.0.0.1"), other.issue("127.0.0.1"));
    fs::copy(&new.certificate, &old.certificate).unwrap();
    fs::copy(&new.key, &old.key).unwrap();
    edit(&server, "level = \"debug\"", "level = \"warn\"");
    edit(
        &server,
        "[rate_limits]\nenabled = false",
        "[rate_limits]\nlogin = { per_second = 0.001, burst = 1 }",
    );
    edit(&server, "mode = \"open\"", "mode = \"closed\"");
    server.signal("HUP");
    // What is not taken over is said, after the rest was.
    server.wait_log("section=registration");
    assert!(!trusts(&ca.http(), &server).await && trusts(&other.http(), &server).await);
    let http = other.http();
    let login = async || {
        let body = json!({"type": "m.login.password", "password": PASSWORD,
            "identifier": {"type": "m.id.user", "user": alice.id}});
        let url = format!("{}/_matrix/client/v3/login", server.client_url());
        let request = http.post(url).body(body.to_string());
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((login().await, login().await), (200, 429));
    // A file that cannot be read changes nothing.
    edit(&server, "[rate_limits]", "[rate_limit]");
    fs::write(&old.certificate, "no certificate").unwrap();
    server.signal("HUP");
    server.wait_log("the configuration is not taken over");
    assert!(trusts(&other.http(), &server).await);
    assert_eq!(login().await, 429);
    let log = server.log();
    assert!(
        log.contains("v3/register") && !log.contains("v3/login"),
        "{log}"
    );
    assert!(!log.contains(MARKER));
}

/// A connection on which a request has begun: to send a message, with half of its body still to come.
fn begin_send(server: &TestServer, alice: &User, room: &str, txn: &str) -> (TcpStream, String) {
    let body = json!({"msgtype": "m.text", "body": format!("{MARKER}: under way")}).to_string();
    let (now, later) = body.split_at(body.len() / 2);
    let address = server.plain_url().unwrap().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "PUT /_matrix/client/v3/rooms/{room}/send/m.room.message/{txn} HTTP/1.1\r\nhost: a\r\n\
         authorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{now}",
        alice.token,
        body.len()
    )
    .unwrap();
    (stream, later.to_owned())
}

/// Begins a request that is never finished, and one that is once the end has begun; answers how the server ended.
async fn end_by(signal: &'static str) {
    let ca = TestCa::new();
    let setup = Setup {
        plain: true,
        ..Setup::default()
    };
    let mut server = TestServer::start_as(&ca, &setup);
    let alice = User::register(&server, "alice").await;
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    let (_stuck, _) = begin_send(&server, &alice, &room, "stuck");
    let (mut under_way, rest) = begin_send(&server, &alice, &room, "under_way");
    // The server has accepted both: it accepts in their order, and this one is answered.
    alice.get("/versions").await;
    server.signal(signal);
    server.wait_log("ending");
    let ended = tokio::task::spawn_blocking(move || {
        under_way.write_all(rest.as_bytes()).unwrap();
        let mut answer = [0; 12];
        under_way.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        let ended = server.ended();
        (ended, server)
    });
    let (ended, mut server) = ended.await.unwrap();
    assert!(ended.success(), "{ended}");
    server.restart();
    let found = alice.history(&room).await;
    let bodies = found
        .iter()
        .filter(|event| event["type"] == "m.room.message");
    assert_eq!(bodies.count(), 1, "what was answered is there");
}

#[tokio::test]
async fn sigterm_ends_it_though_a_client_is_stuck_and_finishes_the_rest() {
    end_by("TERM").await;
}

#[tokio::test]
async fn sigint_ends_it_though_a_client_is_stuck_and_finishes_the_rest() {
    end_by("INT").await;
}

#[tokio::test]
async fn a_second_sigint_ends_it_at_once() {
    let ca = TestCa::new();
    let setup = Setup {
        plain: true,
        ..Setup::default()
    };
    let mut server = TestServer::start_as(&ca, &setup);
    let alice = User::register(&server, "alice").await;
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    let (_stuck, _) = begin_send(&server, &alice, &room, "stuck");
    alice.get("/versions").await;
    server.signal("INT");
    server.wait_log("ending");
    server.signal("INT");
    let ended = tokio::task::spawn_blocking(move || (server.ended(), server));
    let (ended, server) = ended.await.unwrap();
    assert!(ended.success(), "{ended}");
    assert!(server.log().contains("ended at once"), "{}", server.log());
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let second = passeur_tests::server::passeur()
        .args(["serve", "--config"])
        .arg(server.config_file())
        .env("PASSEUR__LISTENERS__0__PORT", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(
        said.contains("another server runs on this folder"),
        "{said}"
    );
}
