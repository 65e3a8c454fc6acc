//! The connection against small servers on loopback.

use std::sync::{Arc, Mutex};

use axum::{Router, http::HeaderMap, response::IntoResponse, routing::get};
use ruma::api::client::account::whoami;

use super::*;

/// Serves `router` on loopback for as long as the test runs, and gives its base URL.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn client(homeserver: &str) -> Result<HttpClient, HttpSetupError> {
    HttpClient::new(&HttpConfig {
        homeserver: homeserver.to_owned(),
        ..HttpConfig::default()
    })
}

async fn whoami_error(router: Router) -> HttpError {
    let client = client(&serve(router).await).unwrap();
    let request = whoami::v3::Request::new();
    client
        .send(request, Some("token"), REQUEST_TIMEOUT, 1000)
        .await
        .unwrap_err()
}

#[test]
fn plain_http_is_refused_beyond_loopback() {
    let check = |url: &str| client(url).err();
    assert_eq!(check("http://127.0.0.1:8008"), None);
    assert_eq!(check("http://[::1]:8008"), None);
    assert_eq!(check("http://localhost"), None);
    assert_eq!(
        check("http://matrix.example.org"),
        Some(HttpSetupError::PlainHttp)
    );
    assert_eq!(
        check("http://127.0.0.1.example.org"),
        Some(HttpSetupError::PlainHttp)
    );
    assert_eq!(check("http://abc.onion"), Some(HttpSetupError::PlainHttp));
    assert_eq!(check("ftp://127.0.0.1"), Some(HttpSetupError::Homeserver));
    assert_eq!(
        check("https://user@127.0.0.1"),
        Some(HttpSetupError::Homeserver)
    );
    assert_eq!(check("nonsense"), Some(HttpSetupError::Homeserver));
}

#[test]
fn a_proxy_that_leaves_names_to_be_resolved_here_is_refused() {
    let check = |proxy: &str| {
        HttpClient::new(&HttpConfig {
            homeserver: "http://abc.onion".to_owned(),
            socks_proxy: Some(proxy.to_owned()),
            ..HttpConfig::default()
        })
        .err()
    };
    assert_eq!(check("socks5h://127.0.0.1:9050"), None);
    assert_eq!(
        check("socks5://127.0.0.1:9050"),
        Some(HttpSetupError::Proxy)
    );
}

#[tokio::test]
async fn an_answer_beyond_its_bound_is_not_read() {
    let router = Router::new().route(
        "/_matrix/client/v3/account/whoami",
        get(|| async { "x".repeat(2000) }),
    );
    let error = whoami_error(router).await;
    assert!(
        matches!(error, HttpError::TooLarge { bytes_max: 1000 }),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_expired_token_is_told_from_a_dead_session() {
    for (soft, body) in [
        (
            true,
            r#"{"errcode":"M_UNKNOWN_TOKEN","error":"","soft_logout":true}"#,
        ),
        (false, r#"{"errcode":"M_UNKNOWN_TOKEN","error":""}"#),
    ] {
        let answer = (StatusCode::UNAUTHORIZED, body).into_response();
        let answer = Arc::new(Mutex::new(Some(answer)));
        let router = Router::new().route(
            "/_matrix/client/v3/account/whoami",
            get(move || async move { answer.lock().unwrap().take().unwrap() }),
        );
        let error = whoami_error(router).await;
        assert_eq!(error.unknown_token(), Some(soft));
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn retry_after_is_read_from_header_and_body() {
    for (header, body, expected) in [
        (
            Some("7"),
            r#"{"errcode":"M_LIMIT_EXCEEDED","error":"","retry_after_ms":1500}"#,
            Some(7000),
        ),
        (
            None,
            r#"{"errcode":"M_LIMIT_EXCEEDED","error":"","retry_after_ms":1500}"#,
            Some(1500),
        ),
        (Some("3"), "<html>", Some(3000)),
        (None, "<html>", None),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("retry-after", header.parse().unwrap());
        }
        let router = Router::new().route(
            "/_matrix/client/v3/account/whoami",
            get(move || async move { (StatusCode::TOO_MANY_REQUESTS, headers, body) }),
        );
        let error = whoami_error(router).await;
        assert!(error.is_transient());
        assert_eq!(error.retry_after().map(|delay| delay.as_millis()), expected);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token() {
    let seen = Arc::new(Mutex::new(false));
    let other = {
        let seen = seen.clone();
        serve(Router::new().fallback(move || async move { *seen.lock().unwrap() = true })).await
    };
    let router = Router::new().route(
        "/_matrix/client/v3/account/whoami",
        get(move || async move { (StatusCode::TEMPORARY_REDIRECT, [("location", other)]) }),
    );
    let error = whoami_error(router).await;
    assert!(matches!(error, HttpError::BadAnswer), "{error:?}");
    assert!(!*seen.lock().unwrap());
}

#[tokio::test]
async fn nothing_listening_is_a_transient_error() {
    let client = client("http://127.0.0.1:1").unwrap();
    let error = client.discover(None).await.unwrap_err();
    assert!(error.is_transient());
}

#[tokio::test]
async fn what_the_server_supports_is_remembered() {
    let router = Router::new().route(
        "/_matrix/client/versions",
        get(|| async {
            r#"{"versions":["v1.1"],"unstable_features":{"org.passeur.ws":true,"off":false}}"#
        }),
    );
    let client = client(&serve(router).await).unwrap();
    client.discover(None).await.unwrap();
    let features: Vec<_> = client
        .supported()
        .features
        .iter()
        .map(|flag| flag.as_str().to_owned())
        .collect();
    assert_eq!(features, ["org.passeur.ws"]);
}

/// A SOCKS proxy for one connection, which goes to `server` whatever is asked for; gives the name and port that were.
async fn proxy_once(listener: tokio::net::TcpListener, server: String) -> (String, u16) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (mut stream, _) = listener.accept().await.unwrap();
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await.unwrap();
    let mut methods = vec![0; usize::from(greeting[1])];
    stream.read_exact(&mut methods).await.unwrap();
    stream.write_all(&[5, 0]).await.unwrap();
    // Version, CONNECT, reserved, and that a name follows: an address would be 1 or 4.
    let mut request = [0; 5];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request[..4], [5, 1, 0, 3]);
    let mut name = vec![0; usize::from(request[4])];
    stream.read_exact(&mut name).await.unwrap();
    let port = stream.read_u16().await.unwrap();
    stream
        .write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    let address = server.strip_prefix("http://").unwrap();
    let mut onward = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut onward).await });
    (String::from_utf8(name).unwrap(), port)
}

#[tokio::test]
async fn the_proxy_is_asked_for_the_name_and_nobody_is_asked_directly() {
    let router = Router::new().route(
        "/_matrix/client/versions",
        get(|| async { r#"{"versions":["v1.1"]}"# }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxied = tokio::spawn(proxy_once(listener, serve(router).await));
    let config = HttpConfig {
        homeserver: "http://nobodyknowsthisname.onion".to_owned(),
        socks_proxy: Some(format!("socks5h://127.0.0.1:{port}")),
        ..HttpConfig::default()
    };
    let client = HttpClient::new(&config).unwrap();
    client.discover(None).await.unwrap();
    let (name, port) = proxied.await.unwrap();
    assert_eq!((name.as_str(), port), ("nobodyknowsthisname.onion", 80));
    // The proxy has gone: a request fails rather than find another way.
    let fresh = HttpClient::new(&config).unwrap();
    assert!(fresh.discover(None).await.unwrap_err().is_transient());
}
