//! Following what happens: sync and its WebSocket.

use axum::{Router, routing::get};
use ruma::api::client::sync::sync_events;

use crate::{
    app::App,
    client::sync::{
        sync_events::sync_events_route,
        sync_socket::{self, sync_socket_route},
    },
    http::route::RouteExt,
};

/// The table.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .endpoint::<sync_events::v3::Request, _, _>(sync_events_route)
        .route(sync_socket::PATH, get(sync_socket_route))
}
