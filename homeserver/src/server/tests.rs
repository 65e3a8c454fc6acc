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
    let (clock, rng) = (MockClock::default(), SeededRng::new(1));
    let server = Some(server_name!("matrix.example.org:443").to_owned());
    let config = Config {
        listeners: [Resource::Client, Resource::Federation]
            .map(|resource| ListenerConfig::loopback([resource], None))
            .to_vec(),
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
