//! Requests over real sockets, to a server that says what the test wants.

use std::{fs, path::Path, sync::Mutex};

use http::Request;
use ruma::OwnedServerName;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{clock::SystemClock, outbound::ResolveError};

/// A server that answers every request with the same bytes.
struct Fixed {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

async fn serve(answer: &'static str) -> Fixed {
    let folder = tempfile::tempdir().unwrap();
    let acceptor = acceptor(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            notes
                .lock()
                .unwrap()
                .push(String::from_utf8(request).unwrap());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    Fixed {
        port,
        heard,
        folder,
    }
}

/// A certificate for this machine's names, which is its own authority.
fn acceptor(folder: &Path) -> TlsAcceptor {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(folder.join("ca.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

const BOUNDS: Bounds = Bounds {
    bytes_max: 100,
    timeout: Duration::from_secs(10),
};

impl Fixed {
    fn config(&self) -> FederationConfig {
        FederationConfig {
            ca_files: vec![self.folder.path().join("ca.pem")],
            private_ranges: vec!["127.0.0.0/8".parse().unwrap()],
            ..FederationConfig::default()
        }
    }

    async fn ask(
        &self,
        host: &str,
        config: FederationConfig,
    ) -> Result<http::Response<Bytes>, RemoteError> {
        let clock = Arc::new(SystemClock::new());
        let transport = HttpsTransport::new(Arc::new(config), clock).unwrap();
        let server: OwnedServerName = format!("{host}:{}", self.port).try_into().unwrap();
        let request = Request::get("/path?query=a%20b")
            .body(Bytes::new())
            .unwrap();
        transport.request(&server, request, BOUNDS).await
    }
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_server_is_reached_by_name_and_by_address() {
    let server = serve(HELLO).await;
    for host in ["localhost", "127.0.0.1"] {
        let answer = server.ask(host, server.config()).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (200, &b"hello"[..])
        );
    }
    let heard = server.heard.lock().unwrap();
    for (host, heard) in ["localhost", "127.0.0.1"].iter().zip(&*heard) {
        assert!(
            heard.starts_with("GET /path?query=a%20b HTTP/1.1\r\n"),
            "{heard}"
        );
        assert_eq!(
            heard
                .matches(&format!("host: {host}:{}\r\n", server.port))
                .count(),
            1,
            "{heard}"
        );
    }
}

#[tokio::test]
async fn a_certificate_of_nobody_trusted_is_refused() {
    let server = serve(HELLO).await;
    let other = serve(HELLO).await;
    let config = FederationConfig {
        ca_files: other.config().ca_files,
        ..server.config()
    };
    assert_eq!(
        server.ask("localhost", config).await.unwrap_err(),
        RemoteError::Connect
    );
    assert!(server.heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let server = serve(HELLO).await;
    assert_eq!(
        server.ask("127.0.0.2", server.config()).await.unwrap_err(),
        RemoteError::Connect
    );
}

#[tokio::test]
async fn loopback_is_refused_unless_it_is_allowed() {
    let server = serve(HELLO).await;
    for host in ["localhost", "127.0.0.1"] {
        let config = FederationConfig {
            private_ranges: Vec::new(),
            ..server.config()
        };
        let refused = RemoteError::Resolve(ResolveError::Refused);
        assert_eq!(server.ask(host, config).await.unwrap_err(), refused);
    }
    assert!(server.heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let server =
        serve("HTTP/1.1 302 Found\r\nlocation: /secret\r\ncontent-length: 0\r\n\r\n").await;
    let answer = server.ask("localhost", server.config()).await.unwrap();
    assert_eq!(answer.status(), 302);
    assert_eq!(server.heard.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_cut_off() {
    let announced = serve("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n").await;
    let error = announced
        .ask("localhost", announced.config())
        .await
        .unwrap_err();
    assert_eq!(error, RemoteError::TooLarge);
    let chunked = serve("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n65\r\n01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\r\n0\r\n\r\n").await;
    let error = chunked
        .ask("localhost", chunked.config())
        .await
        .unwrap_err();
    assert_eq!(error, RemoteError::TooLarge);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let server = serve("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello").await;
    let error = server.ask("localhost", server.config()).await.unwrap_err();
    assert_eq!(error, RemoteError::Broken);
}
