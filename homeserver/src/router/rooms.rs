//! Rooms: creation, membership, events, state, reading.

use axum::Router;

use crate::app::App;

/// The table.
pub(super) fn routes() -> Router<App> {
    Router::new()
}
