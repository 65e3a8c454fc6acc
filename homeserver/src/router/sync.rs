//! Following what happens: sync, its WebSocket, receipts, typing.

use axum::Router;

use crate::app::App;

/// The table.
pub(super) fn routes() -> Router<App> {
    Router::new()
}
