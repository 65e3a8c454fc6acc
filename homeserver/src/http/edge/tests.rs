//! All layers together, around routes that misbehave.

use axum::{body::Body, extract::Request, routing::get};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{
    clock::{MockClock, SeededRng},
    http::{log::captured::Captured, peer::Peer},
};

/// Routes with all layers, limits on.
fn router() -> Router {
    let clock: Arc<dyn Clock> = Arc::new(MockClock::default());
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(1));
    let talkative = async |request: Request| {
        tracing::error!(uri = %request.uri(), headers = ?request.headers(), "a handler that says too much");
        "hello"
    };
    async fn panicking() -> &'static str {
        panic!("@alice:example.org does not fit")
    }
    let routes = Router::new()
        .route("/_matrix/client/v3/rooms/{room_id}/members", get(talkative))
        .route("/panic", get(panicking));
    Edge::new(&RateLimitsConfig::default(), &clock, &rng).wrap(
        routes,
        &BTreeSet::from([Resource::Client, Resource::Metrics]),
    )
}

/// A request from somebody, with everything that must not be logged.
fn request(method: Method, uri: &str) -> Request {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(
            header::AUTHORIZATION,
            "Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
        )
        .header(header::USER_AGENT, "quetzal/1.0")
        .body(Body::from("a body"))
        .unwrap();
    request.extensions_mut().insert(Peer {
        address: [192, 0, 2, 77].into(),
        secure: true,
    });
    request
}

async fn text(response: axum::response::Response) -> String {
    String::from_utf8(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

#[tokio::test]
async fn a_line_names_the_template_and_nothing_personal_even_if_a_handler_does() {
    let (captured, _guard) = Captured::start();
    let uri = "/_matrix/client/v3/rooms/%21secret:example.org/members?access_token=eyJhbGciOiJFZERTQSJ9.e30.c2ln&since=s1";
    let response = router().oneshot(request(Method::GET, uri)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let log = captured.text();
    assert!(
        log.contains("request method=GET route=/_matrix/client/v3/rooms/{room_id}/members status=200 ms=0.0 bytes=5\n"),
        "{log}"
    );
    for personal in ["secret", "eyJ", "192.0.2.77", "since", "a body"] {
        assert!(!log.contains(personal), "{personal} in {log}");
    }
}

#[tokio::test]
async fn a_panic_fails_its_request_only_and_is_counted() {
    let router = router();
    let response = router
        .clone()
        .oneshot(request(Method::GET, "/panic"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(response).await.contains("M_UNKNOWN"));
    let metrics = text(
        router
            .oneshot(request(Method::GET, "/metrics"))
            .await
            .unwrap(),
    )
    .await;
    for line in [
        "passeur_requests_total{method=\"GET\",route=\"/panic\",status=\"500\"} 1\n",
        "passeur_requests_in_flight 1\n",
        "passeur_rate_limited_total{class=\"login\"} 0\n",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn a_preflight_reaches_no_handler_and_errors_can_be_read_by_browsers() {
    let preflight = router()
        .oneshot(request(Method::OPTIONS, "/panic"))
        .await
        .unwrap();
    assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        preflight.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN],
        "*"
    );
    let missing = router()
        .oneshot(request(Method::GET, "/nowhere"))
        .await
        .unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(missing.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
}

#[tokio::test]
async fn metrics_are_served_only_where_they_are_a_resource() {
    let clock: Arc<dyn Clock> = Arc::new(MockClock::default());
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(1));
    let edge = Edge::new(&RateLimitsConfig::default(), &clock, &rng);
    let without = edge.wrap(Router::new(), &BTreeSet::from([Resource::Client]));
    assert_eq!(
        without
            .oneshot(request(Method::GET, "/metrics"))
            .await
            .unwrap()
            .status(),
        StatusCode::NOT_FOUND
    );
}
