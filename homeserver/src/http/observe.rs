//! What is told about every request: one line in the log, one count in the metrics; and what a panic is answered with.
//!
//! Invariant: a line names the route's template, never the path, and nothing of query, headers, body or peer.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    body::HttpBody,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::Method;

use super::{error::ApiError, metrics::Metrics};
use crate::clock::Clock;

/// What the layer needs.
#[derive(Debug, Clone)]
pub struct Observer {
    /// What measures.
    pub clock: Arc<dyn Clock>,
    /// What counts.
    pub metrics: Arc<Metrics>,
}

/// The layer, for [`axum::middleware::from_fn_with_state`]; the outermost.
pub async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let method = method_name(request.method());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or("none", MatchedPath::as_str);
    let started = observer.clock.monotonic();
    let flying = observer.metrics.enter();
    // A broken invariant fails its request; the hook of `http/log.rs` has logged where.
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = answered.unwrap_or_else(|_| ApiError::internal().into_response());
    drop(flying);
    let (status, took) = (
        response.status().as_u16(),
        observer.clock.monotonic().saturating_sub(started),
    );
    observer.metrics.count(method, route, status, took);
    let bytes = response.body().size_hint().exact();
    let ms = (took.as_secs_f64() * 10_000.0).round() / 10.0;
    tracing::info!(method, route, status, ms, bytes, "request");
    response
}

/// The name of a method that the specification uses; any other was made up by the client.
fn method_name(method: &Method) -> &'static str {
    [
        Method::GET,
        Method::PUT,
        Method::POST,
        Method::DELETE,
        Method::OPTIONS,
        Method::HEAD,
    ]
    .iter()
    .zip(["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD"])
    .find_map(|(known, name)| (known == method).then_some(name))
    .unwrap_or("OTHER")
}
