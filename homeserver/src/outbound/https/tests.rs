//! Requests over real sockets, to a server that says what the test wants.

use std::{fs, sync::Mutex};

use http::Request;
use ruma::OwnedServerName;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    clock::SystemClock,
    outbound::{ResolveError, SplitTransport},
};

mod weather;

/// A server that answers every request with the same bytes.
struct Fixed {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

async fn serve(answer: &'static str) -> Fixed {
    serve_as(answer.as_bytes(), Then::Close).await
}

/// What the server does after its answer.
#[derive(Clone, Copy)]
enum Then {
    /// Closes the connection.
    Close,
    /// Says nothing more.
    Hang,
    /// Says the same again and again.
    Repeat,
}

async fn serve_as(answer: &'static [u8], then: Then) -> Fixed {
    let (folder, config) = identity(2999);
    serve_by(folder, config, answer, then).await
}

async fn serve_by(
    folder: tempfile::TempDir,
    config: ServerConfig,
    answer: &'static [u8],
    then: Then,
) -> Fixed {
    let acceptor = TlsAcceptor::from(Arc::new(config));
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
            let text = String::from_utf8(std::mem::take(&mut request)).unwrap();
            notes.lock().unwrap().push(text);
            let _ = stream.write_all(answer).await;
            match then {
                Then::Close => {}
                Then::Hang => drop(stream.read_buf(&mut request).await),
                Then::Repeat => while stream.write_all(answer).await.is_ok() {},
            }
            let _ = stream.shutdown().await;
        }
    });
    Fixed {
        port,
        heard,
        folder,
    }
}

/// A certificate for this machine's names, which is its own authority, and what serves by it.
fn identity(year_of_end: i32) -> (tempfile::TempDir, ServerConfig) {
    let folder = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    params.not_after = rcgen::date_time_ymd(year_of_end, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    fs::write(folder.path().join("ca.pem"), made.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], key)
        .unwrap();
    (folder, config)
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
        let transport = SplitTransport::new(Arc::new(config), clock).unwrap();
        self.ask_over(&transport, host, BOUNDS).await
    }

    async fn ask_over(
        &self,
        transport: &SplitTransport,
        host: &str,
        bounds: Bounds,
    ) -> Result<http::Response<Bytes>, RemoteError> {
        let server: OwnedServerName = format!("{host}:{}", self.port).try_into().unwrap();
        let request = Request::get("/path?query=a%20b")
            .body(Bytes::new())
            .unwrap();
        transport.request(&server, request, bounds).await
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

/// A SOCKS5 proxy that notes where it is asked to go, and leads everybody to `port` of this machine; port 0: nowhere.
async fn proxy(port: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own_port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut greeting = [0; 2];
            stream.read_exact(&mut greeting).await.unwrap();
            let mut methods = vec![0; usize::from(greeting[1])];
            stream.read_exact(&mut methods).await.unwrap();
            stream.write_all(&[5, 0]).await.unwrap();
            // RFC 1928: version, command, reserved, type of address; 3 is a name.
            let mut head = [0; 5];
            stream.read_exact(&mut head).await.unwrap();
            assert_eq!(head[..4], [5, 1, 0, 3], "a name is to be resolved");
            let mut name = vec![0; usize::from(head[4]) + 2];
            stream.read_exact(&mut name).await.unwrap();
            name.truncate(name.len() - 2);
            notes.lock().unwrap().push(String::from_utf8(name).unwrap());
            let Ok(mut target) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else {
                let _ = stream.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await;
                continue;
            };
            stream
                .write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
                .await
                .unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut target).await;
        }
    });
    (own_port, asked)
}

#[tokio::test]
async fn through_a_proxy_names_are_resolved_there_and_nowhere_else() {
    let server = serve(HELLO).await;
    let (port, asked) = proxy(server.port).await;
    let config = FederationConfig {
        proxy: Some(format!("socks5h://127.0.0.1:{port}")),
        ..server.config()
    };
    let answer = server.ask("localhost", config).await.unwrap();
    assert_eq!(&answer.body()[..], b"hello");
    assert_eq!(*asked.lock().unwrap(), ["localhost"]);
}

#[tokio::test]
async fn if_the_proxy_fails_nothing_is_reached_directly() {
    let server = serve(HELLO).await;
    let (refusing, asked) = proxy(0).await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    for port in [refusing, gone] {
        let config = FederationConfig {
            proxy: Some(format!("socks5h://127.0.0.1:{port}")),
            ..server.config()
        };
        assert!(server.ask("localhost", config).await.is_err());
    }
    assert_eq!(*asked.lock().unwrap(), ["localhost"]);
    assert!(server.heard.lock().unwrap().is_empty());
    // The control: without a proxy the server is there.
    assert!(server.ask("localhost", server.config()).await.is_ok());
}

#[tokio::test]
async fn an_onion_name_is_not_looked_up() {
    let server = serve(HELLO).await;
    let name = "vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd.onion";
    let refused = server.ask(name, server.config()).await;
    assert_eq!(
        refused.err(),
        Some(RemoteError::Resolve(ResolveError::Refused))
    );
    // The control: through a proxy it is the proxy's to resolve.
    let (port, asked) = proxy(0).await;
    let config = FederationConfig {
        proxy: Some(format!("socks5h://127.0.0.1:{port}")),
        ..server.config()
    };
    assert!(server.ask(name, config).await.is_err());
    assert_eq!(*asked.lock().unwrap(), [name]);
}

#[tokio::test]
async fn only_who_is_chosen_goes_through_the_proxy_and_never_past_it() {
    let server = serve(HELLO).await;
    let (port, asked) = proxy(0).await;
    let chosen = |name: &str| FederationConfig {
        proxy: Some(format!("socks5h://127.0.0.1:{port}")),
        proxied_servers: Some(vec![name.try_into().unwrap()]),
        ..server.config()
    };
    // Another is chosen: this one is reached directly.
    let answer = server.ask("localhost", chosen("hidden.org")).await.unwrap();
    assert_eq!(&answer.body()[..], b"hello");
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
    // It is chosen, and the proxy leads nowhere: it is not reached at all.
    server.heard.lock().unwrap().clear();
    assert!(server.ask("localhost", chosen("localhost")).await.is_err());
    assert_eq!(*asked.lock().unwrap(), ["localhost"]);
    assert!(server.heard.lock().unwrap().is_empty());
}
