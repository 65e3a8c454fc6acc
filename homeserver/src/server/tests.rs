//! A whole server, started and ended as the program does it.

use ruma::server_name;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    clock::{MockClock, SeededRng},
    config::{ListenerConfig, Resource, WellKnownConfig},
    outbound::testing::Network,
};

/// A server for clients on one port and for other servers on the next, with keys of its own.
async fn start(folder: &Path) -> Server {
    let listeners = [Resource::Client, Resource::Federation]
        .map(|resource| ListenerConfig::loopback([resource], None));
    start_on(folder, listeners.to_vec()).await
}

async fn start_on(folder: &Path, listeners: Vec<ListenerConfig>) -> Server {
    let (clock, rng) = (MockClock::default(), SeededRng::new(1));
    let server = Some(server_name!("matrix.example.org:443").to_owned());
    let config = Config {
        listeners,
        well_known: WellKnownConfig {
            server,
            ..WellKnownConfig::default()
        },
        ..Config::for_test(server_name!("example.org").to_owned(), folder.to_owned())
    };
    key_files::create(&config.signing_key_path(), &rng).unwrap();
    key_files::create(&config.token_key_path(), &rng).unwrap();
    let transport = Arc::new(Network::default());
    Server::start_with(config, Arc::new(clock), Arc::new(rng), transport)
        .await
        .unwrap()
}

/// The whole answer to a GET.
async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn each_listener_serves_its_resources_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let [clients, servers] = server.addresses() else {
        panic!("two listeners")
    };
    assert!(
        get(*clients, "/_matrix/client/versions")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        get(*servers, "/_matrix/client/versions")
            .await
            .starts_with("HTTP/1.1 404")
    );
    assert!(
        get(*servers, "/_matrix/key/v2/server")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        get(*clients, "/_matrix/key/v2/server")
            .await
            .contains("M_UNRECOGNIZED")
    );
    let well_known = get(*servers, "/.well-known/matrix/server").await;
    assert!(
        well_known.ends_with("{\"m.server\":\"matrix.example.org:443\"}"),
        "{well_known}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_stopped_server_is_gone_and_its_data_can_be_served_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let (address, config) = (server.addresses()[0], (*server.app().config).clone());
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    let (clock, rng) = (Arc::new(MockClock::default()), Arc::new(SeededRng::new(2)));
    let again = Server::start_with(config, clock, rng, Arc::new(Network::default()))
        .await
        .unwrap();
    assert!(
        get(again.addresses()[0], "/_matrix/client/versions")
            .await
            .starts_with("HTTP/1.1 200")
    );
    again.stop().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused_while_the_first_runs() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    // Ports that nobody has taken: it is the folder that decides.
    let config = (*server.app().config).clone();
    let again = async || {
        let (clock, rng) = (Arc::new(MockClock::default()), Arc::new(SeededRng::new(2)));
        Server::start_with(config.clone(), clock, rng, Arc::new(Network::default())).await
    };
    let refused = again().await.unwrap_err().to_string();
    assert!(
        refused.ends_with("another server runs on this folder"),
        "{refused}"
    );
    // What the command line does goes on beside it.
    open_store(&config).await.unwrap().close().await;
    server.stop().await;
    again().await.unwrap().stop().await;
}

#[tokio::test]
async fn without_its_keys_a_server_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::for_test(
        server_name!("example.org").to_owned(),
        folder.path().to_owned(),
    );
    let (clock, rng) = (Arc::new(MockClock::default()), Arc::new(SeededRng::new(1)));
    let refused = Server::start_with(config, clock, rng, Arc::new(Network::default())).await;
    let error = refused.unwrap_err().to_string();
    assert!(
        error.ends_with("is missing: `passeur init` makes it"),
        "{error}"
    );
}

/// The first line of the answer to a request with these lines after its first.
async fn status(address: SocketAddr, first: &str, lines: &[&str], body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let lines = lines.join("\r\n");
    let length = body.len();
    let request = format!(
        "{first} HTTP/1.1\r\nhost: example.org\r\ncontent-length: {length}\r\n{lines}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, answer)
}

#[tokio::test]
async fn a_socket_behind_a_proxy_needs_the_proxys_word_for_tls() {
    let folder = tempfile::tempdir().unwrap();
    let proxied = ListenerConfig {
        behind_proxy: vec!["127.0.0.1/32".parse().unwrap()],
        ..ListenerConfig::loopback([Resource::Client], None)
    };
    let server = start_on(folder.path(), vec![proxied]).await;
    let address = server.addresses()[0];
    let forwarded = "x-forwarded-for: 203.0.113.9";
    let register =
        r#"{"username":"alice","password":"quetzal feathers","auth":{"type":"m.login.dummy"}}"#;
    let lines = [forwarded, "x-forwarded-proto: https", "connection: close"];
    let (made, answer) = status(
        address,
        "POST /_matrix/client/v3/register",
        &lines,
        register,
    )
    .await;
    assert_eq!(made, "200", "{answer}");
    let token = answer.split(r#""access_token":""#).nth(1).unwrap();
    let token = token.split('"').next().unwrap();
    let authorization = format!("authorization: Bearer {token}");
    for (proto, expected) in [
        (Some("x-forwarded-proto: https"), "101"),
        (Some("x-forwarded-proto: http"), "403"),
        (None, "403"),
    ] {
        let mut lines = vec![
            forwarded,
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-version: 13",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            &authorization,
        ];
        lines.extend(proto);
        let path = "GET /_matrix/client/unstable/org.passeur.ws/sync";
        let (answered, answer) = status(address, path, &lines, "").await;
        assert_eq!(answered, expected, "{proto:?} {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_does_not_start_without_the_keys_of_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let server = start(&data).await;
    let without = (*server.app().config).clone();
    server.stop().await;
    let keys = folder.path().join("keys");
    let config = Config {
        expiry: crate::config::ExpiryConfig {
            key_store: Some(keys.clone()),
            ..without.expiry.clone()
        },
        ..without.clone()
    };
    let start = async |config: &Config| {
        let (clock, rng) = (Arc::new(MockClock::default()), Arc::new(SeededRng::new(2)));
        Server::start_with(config.clone(), clock, rng, Arc::new(Network::default())).await
    };
    let refused = async |config: &Config| start(config).await.unwrap_err().to_string();
    start(&config).await.unwrap().stop().await;
    start(&config).await.unwrap().stop().await;
    let error = refused(&without).await;
    assert!(error.starts_with("expiry.key_store is not set"), "{error}");
    let away = folder.path().join("away");
    fs::rename(&keys, &away).unwrap();
    let error = refused(&config).await;
    assert!(error.contains("are missing"), "{error}");
    assert!(!keys.exists(), "nothing new is made in their place");
    fs::create_dir(&keys).unwrap();
    for file in fs::read_dir(&away).unwrap() {
        let name = file.unwrap().file_name();
        create_private_file(&keys.join(name), b"no keys").unwrap();
    }
    let error = refused(&config).await;
    assert!(error.contains("are damaged"), "{error}");
    fs::remove_dir_all(&keys).unwrap();
    fs::rename(&away, &keys).unwrap();
    start(&config).await.unwrap().stop().await;
}
