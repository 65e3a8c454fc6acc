//! What a sync holds while it waits: hundreds of them wait at any time.

use axum::{body::Body, handler::Handler};
use http::Request;

use super::Server;
use crate::client::sync::sync_events::sync_events_route;

/// What the future of a sync may take, in bytes: what waits, and not what looks.
const SYNC_BYTES_MAX: usize = 2048;

#[tokio::test]
async fn a_sync_that_waits_holds_little() {
    let server = Server::start().await;
    let request = || Request::get("/").body(Body::empty()).unwrap();
    let waiting = sync_events_route.call(request(), server.app.clone());
    let bytes = size_of_val(&*waiting);
    assert!(bytes <= SYNC_BYTES_MAX, "a sync takes {bytes} bytes");
}
