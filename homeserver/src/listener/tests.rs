//! A listener from outside, over real sockets and a clock that stands still.

use std::{net::SocketAddr, path::Path};

use axum::{
    extract::WebSocketUpgrade,
    routing::{get, post},
};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto::ring, version};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::{clock::MockClock, config::TlsConfig, http::peer::Peer};

/// A listener that is serving.
struct Serving {
    address: SocketAddr,
    certificates: Certificates,
    clock: MockClock,
    drain: Drain,
    /// Told when a poll has begun to wait.
    polling: Arc<Notify>,
    /// Lets a WebSocket go.
    release: Arc<Notify>,
    done: JoinHandle<()>,
}

/// What a WebSocket of these tests needs.
#[derive(Clone)]
struct Socket {
    opened: Arc<Notify>,
    release: Arc<Notify>,
}

impl Socket {
    /// Holds the WebSocket until it is let go.
    fn open(self, upgrade: WebSocketUpgrade) -> axum::response::Response {
        upgrade.on_upgrade(async move |socket| {
            self.opened.notify_one();
            self.release.notified().await;
            drop(socket);
        })
    }
}

impl Serving {
    /// Serves what these tests ask for.
    async fn start(config: ListenerConfig) -> Self {
        let listeners = Listeners::bind(&[config]).await.unwrap();
        let (clock, drain) = (MockClock::default(), Drain::new());
        let (address, certificates) = (listeners.addresses()[0], listeners.certificates());
        let (serving, polling) = (drain.clone(), Arc::new(Notify::new()));
        let poll = (drain.clone(), Arc::clone(&polling));
        let release = Arc::new(Notify::new());
        let socket = Socket {
            opened: Arc::clone(&polling),
            release: Arc::clone(&release),
        };
        let router = Router::new()
            .route("/large", get(async || vec![b'x'; LARGE_BYTES]))
            .route(
                "/socket",
                get(async move |upgrade: WebSocketUpgrade| socket.open(upgrade)),
            )
            .route(
                "/secure",
                get(|peer: axum::Extension<Peer>| async move { peer.secure.to_string() }),
            )
            .route("/body", post(|body: String| async move { body }))
            .route(
                "/poll",
                get(move || async move {
                    poll.1.notify_one();
                    poll.0.begun().await;
                }),
            );
        let own_clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let done = tokio::spawn(async move {
            listeners
                .serve(|_| router.clone(), own_clock, &serving)
                .await
        });
        Self {
            address,
            certificates,
            clock,
            drain,
            polling,
            release,
            done,
        }
    }

    async fn plain() -> Self {
        Self::start(ListenerConfig::loopback([Resource::Client], None)).await
    }

    /// Opens a connection and writes `bytes`.
    async fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    /// The answer to `bytes` on a connection of its own.
    async fn ask(&self, bytes: &str) -> String {
        read_all(&mut self.send(bytes).await).await
    }
}

/// Everything until the other side closes.
async fn read_all(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Makes a self-signed certificate for localhost in a folder.
fn make_certificate(folder: &Path) -> TlsConfig {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsConfig {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

/// Shakes hands as a client that trusts the certificate now in `files`.
async fn handshake(
    address: SocketAddr,
    files: &TlsConfig,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    handshake_for(address, files, versions, "http/1.1").await
}

/// As [`handshake`], for a protocol.
async fn handshake_for(
    address: SocketAddr,
    files: &TlsConfig,
    versions: &[&'static SupportedProtocolVersion],
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&files.certificate).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
}

#[tokio::test]
async fn a_request_is_answered_and_plain_http_is_not_secure() {
    let serving = Serving::plain().await;
    let answer = serving.ask("GET /secure HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: https\r\nconnection: close\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nfalse"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_declared_proxy_is_believed() {
    let proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let config = ListenerConfig {
        behind_proxy: proxies,
        ..ListenerConfig::loopback([Resource::Client], None)
    };
    let serving = Serving::start(config).await;
    let answer = serving.ask("GET /secure HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: https\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("true"), "{answer}");
}

#[tokio::test]
async fn behind_a_proxy_nobody_else_is_served() {
    let proxies = vec!["192.0.2.1/32".parse().unwrap()];
    let config = ListenerConfig {
        behind_proxy: proxies,
        ..ListenerConfig::loopback([Resource::Client], None)
    };
    let serving = Serving::start(config).await;
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn whoever_sends_headers_slowly_is_closed() {
    let serving = Serving::plain().await;
    let mut stream = serving
        .send("GET /secure HTTP/1.1\r\nhost: a\r\nx-slow: ")
        .await;
    serving.clock.wait_for_sleepers(1).await;
    serving.clock.advance(connection::HEADER_LIMIT);
    let answer = read_all(&mut stream).await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn whoever_sends_a_body_slowly_is_closed() {
    let serving = Serving::plain().await;
    let mut stream = serving
        .send("POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc")
        .await;
    serving.clock.wait_for_sleepers(1).await;
    serving.clock.advance(body::GRACE);
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn headers_have_a_limit() {
    let serving = Serving::plain().await;
    let long = "x".repeat(connection::HEADER_BYTES_MAX);
    let answer = serving
        .ask(&format!(
            "GET /secure HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn the_end_tells_open_polls_finishes_them_and_accepts_nothing_new() {
    let serving = Serving::plain().await;
    let mut idle = serving.send("").await;
    let mut poll = serving.send("GET /poll HTTP/1.1\r\nhost: a\r\n\r\n").await;
    serving.polling.notified().await;
    serving.drain.begin();
    serving.done.await.unwrap();
    let answer = read_all(&mut poll).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") || answer.is_empty(),
        "{answer}"
    );
    assert_eq!(read_all(&mut idle).await, "");
    assert!(TcpStream::connect(serving.address).await.is_err());
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let listeners = Listeners::bind(&[ListenerConfig::loopback([Resource::Client], None)])
        .await
        .unwrap();
    let (clock, drain, address) = (MockClock::default(), Drain::new(), listeners.addresses()[0]);
    let (entered, mut entries) = tokio::sync::mpsc::channel(1);
    let stuck = move || async move {
        let _ = entered.send(()).await;
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("/stuck", get(stuck));
    let (own_clock, own_drain): (Arc<dyn Clock>, Drain) = (Arc::new(clock.clone()), drain.clone());
    let done = tokio::spawn(async move {
        listeners
            .serve(|_| router.clone(), own_clock, &own_drain)
            .await
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /stuck HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    entries.recv().await.unwrap();
    drain.begin();
    clock.wait_for_sleepers(1).await;
    clock.advance(DRAIN_LIMIT);
    done.await.unwrap();
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn tls_is_secure_and_of_version_1_3_only() {
    let folder = tempfile::tempdir().unwrap();
    let files = make_certificate(folder.path());
    let serving = Serving::start(ListenerConfig::loopback(
        [Resource::Client],
        Some(files.clone()),
    ))
    .await;
    let mut stream = handshake(serving.address, &files, &[&version::TLS13])
        .await
        .unwrap();
    stream
        .write_all(b"GET /secure HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(read_all(&mut stream).await.ends_with("true"));
    assert!(
        handshake(serving.address, &files, &[&version::TLS12])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_certificate_is_replaced_while_serving_and_a_bad_one_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let files = make_certificate(folder.path());
    let serving = Serving::start(ListenerConfig::loopback(
        [Resource::Client],
        Some(files.clone()),
    ))
    .await;
    make_certificate(folder.path());
    assert!(
        handshake(serving.address, &files, &[&version::TLS13])
            .await
            .is_err(),
        "the old one is still shown"
    );
    serving.certificates.reload().unwrap();
    handshake(serving.address, &files, &[&version::TLS13])
        .await
        .unwrap();
    std::fs::write(&files.key, "no key").unwrap();
    assert_eq!(serving.certificates.reload().unwrap_err().len(), 1);
    handshake(serving.address, &files, &[&version::TLS13])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let files = make_certificate(folder.path());
    let serving = Serving::start(ListenerConfig::loopback([Resource::Client], Some(files))).await;
    let mut stream = serving.send("").await;
    serving.clock.wait_for_sleepers(1).await;
    serving.clock.advance(HANDSHAKE_LIMIT);
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn a_key_that_does_not_fit_its_certificate_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = TlsConfig {
        key: make_certificate(two.path()).key,
        ..make_certificate(one.path())
    };
    let error = Listeners::bind(&[ListenerConfig::loopback([Resource::Client], Some(files))])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("does not fit"), "{error}");
}

/// More than the buffers of two sockets hold, in bytes.
const LARGE_BYTES: usize = 64 << 20;

#[tokio::test]
async fn whoever_does_not_read_is_closed() {
    let serving = Serving::plain().await;
    let mut stream = serving.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // Once the answer comes, what waits on the clock is the write.
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    serving.clock.wait_for_sleepers(1).await;
    serving.clock.advance(io_guard::WRITE_STALL_LIMIT);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < LARGE_BYTES, "{}", rest.len());
}

#[tokio::test]
async fn the_end_waits_for_a_websocket_too() {
    let serving = Serving::plain().await;
    let mut stream = serving
        .send(
            "GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    serving.polling.notified().await;
    serving.drain.begin();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!serving.done.is_finished());
    serving.release.notify_one();
    serving.done.await.unwrap();
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let serving = Serving::plain().await;
    let mut stream = serving.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // Frames of data without data, one after the other, as long as they are taken.
    let frame = [0, 0, 0, 0, 0, 0, 0, 0, 1];
    for _ in 0..10_000 {
        if stream.write_all(&frame).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("200"));

    let folder = tempfile::tempdir().unwrap();
    let files = make_certificate(folder.path());
    let config = ListenerConfig::loopback([Resource::Client], Some(files.clone()));
    let serving = Serving::start(config).await;
    for (protocol, is_spoken) in [("h2", false), ("http/1.1", true)] {
        let shaken = handshake_for(serving.address, &files, &[&version::TLS13], protocol).await;
        assert_eq!(shaken.is_ok(), is_spoken, "{protocol}");
    }
}
