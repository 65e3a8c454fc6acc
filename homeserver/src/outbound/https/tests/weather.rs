//! Answers that are late, without end, packed or no answers, certificates that are over, and names that move.

use std::{
    io::ErrorKind,
    net::{IpAddr, TcpListener as Inner},
};

use super::*;
use crate::{clock::MockClock, outbound::dns::Service};

/// So short that a test can wait for it.
const SHORT: Bounds = Bounds {
    timeout: Duration::from_millis(500),
    ..BOUNDS
};

async fn ask_shortly(server: &Fixed) -> Result<http::Response<Bytes>, RemoteError> {
    let clock = Arc::new(SystemClock::new());
    let transport = SplitTransport::new(Arc::new(server.config()), clock).unwrap();
    server.ask_over(&transport, "localhost", SHORT).await
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello";
    for answer in ["", "HTTP/1.1 200 OK\r\nx-slow: ", half] {
        let server = serve_as(answer.as_bytes(), Then::Hang).await;
        let error = ask_shortly(&server).await.unwrap_err();
        assert_eq!(error, RemoteError::Timeout, "{answer}");
    }
    // The control: a whole answer is one, however long the connection then stays open.
    let server = serve_as(HELLO.as_bytes(), Then::Hang).await;
    assert_eq!(&ask_shortly(&server).await.unwrap().body()[..], b"hello");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let body = serve_as(b"HTTP/1.1 200 OK\r\n\r\nhello", Then::Repeat).await;
    let error = body.ask("localhost", body.config()).await.unwrap_err();
    assert_eq!(error, RemoteError::TooLarge);
    let headers = |count: usize| {
        let many = "a: b\r\n".repeat(count);
        let answer = format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n");
        Box::leak(answer.into_boxed_str())
    };
    let server = serve(headers(HEADERS_MAX)).await;
    let error = server.ask("localhost", server.config()).await.unwrap_err();
    assert_eq!(error, RemoteError::Broken);
    // The control: as many as may be.
    let server = serve(headers(HEADERS_MAX - 1)).await;
    assert!(server.ask("localhost", server.config()).await.is_ok());
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    // An empty frame of HTTP/2, over and over; and other things.
    let frame: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    for (answer, then) in [
        (frame, Then::Repeat),
        (b"SSH-2.0-x\r\n", Then::Close),
        (b"HTTP/1.1 two hundred\r\n\r\n", Then::Close),
        (b"", Then::Close),
    ] {
        let server = serve_as(answer, then).await;
        let error = server.ask("localhost", server.config()).await.unwrap_err();
        assert_eq!(error, RemoteError::Broken);
    }
    // HTTP/2 is not spoken even with a server that would.
    let (folder, mut config) = identity(2999);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let server = serve_by(folder, config, HELLO.as_bytes(), Then::Close).await;
    server.ask("localhost", server.config()).await.unwrap();
    assert!(server.heard.lock().unwrap()[0].starts_with("GET /path"));
}

/// 20,000 letters, packed by gzip.
const PACKED: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 237, 193, 49, 1, 0, 0, 0, 194, 160, 172, 235, 95, 194, 26, 30,
    64, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 240, 96, 49, 135, 189, 202, 32,
    78, 0, 0,
];

#[tokio::test]
async fn a_packed_answer_is_not_unpacked() {
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n";
    let packed = [head.as_bytes(), PACKED].concat();
    let server = serve_as(Box::leak(packed.into_boxed_slice()), Then::Close).await;
    let answer = server.ask("localhost", server.config()).await.unwrap();
    assert_eq!(&answer.body()[..], PACKED);
    assert!(!server.heard.lock().unwrap()[0].contains("accept-encoding"));
    // The control: what is in it would be too much.
    let unpacked = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}",
        "a".repeat(20_000)
    );
    let server = serve_as(
        Box::leak(unpacked.into_bytes().into_boxed_slice()),
        Then::Close,
    )
    .await;
    let error = server.ask("localhost", server.config()).await.unwrap_err();
    assert_eq!(error, RemoteError::TooLarge);
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    for (year_of_end, is_taken) in [(2020, false), (2999, true)] {
        let (folder, config) = identity(year_of_end);
        let server = serve_by(folder, config, HELLO.as_bytes(), Then::Close).await;
        let answer = server.ask("localhost", server.config()).await;
        assert_eq!(answer.is_ok(), is_taken, "{answer:?}");
        assert_eq!(server.heard.lock().unwrap().len(), usize::from(is_taken));
    }
}

/// A name that leads where it was told last.
#[derive(Debug)]
struct Moving(Mutex<IpAddr>);

impl Dns for Moving {
    fn addresses<'a>(&'a self, _: &'a str) -> Pending<'a, Result<Vec<IpAddr>, ResolveError>> {
        let address = *self.0.lock().unwrap();
        Box::pin(async move { Ok(vec![address]) })
    }

    fn services<'a>(&'a self, _: &'a str) -> Pending<'a, Result<Vec<Service>, ResolveError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

#[tokio::test]
async fn a_name_that_moves_to_a_private_address_is_not_followed() {
    let server = serve(HELLO).await;
    // What the attacker would have us reach, on an address that is not allowed.
    let inner = Inner::bind(("127.0.0.2", server.port)).unwrap();
    inner.set_nonblocking(true).unwrap();
    for (allowed, is_reached) in [("127.0.0.1/32", false), ("127.0.0.0/8", true)] {
        let config = FederationConfig {
            private_ranges: vec![allowed.parse().unwrap()],
            ..server.config()
        };
        let name = Arc::new(Moving(Mutex::new("127.0.0.1".parse().unwrap())));
        let clock = MockClock::default();
        let dns = Arc::clone(&name) as Arc<dyn Dns>;
        let transport =
            SplitTransport::with_dns(Arc::new(config), dns, Arc::new(clock.clone())).unwrap();
        let ask = || server.ask_over(&transport, "localhost", SHORT);
        ask().await.unwrap();
        *name.0.lock().unwrap() = "127.0.0.2".parse().unwrap();
        // The address that was checked is the one that is connected to, whatever the name says meanwhile.
        ask().await.unwrap();
        clock.advance(Duration::from_secs(3600));
        let refused = ask().await.unwrap_err();
        let reached = inner.accept();
        if is_reached {
            // The control: without the list it would be.
            assert!(reached.is_ok());
        } else {
            assert_eq!(refused, RemoteError::Resolve(ResolveError::Refused));
            assert_eq!(reached.unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }
}
