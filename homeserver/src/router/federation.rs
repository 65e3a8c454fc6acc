//! The server-server API and signing keys.

use axum::Router;

use crate::app::App;

/// The table.
pub(super) fn routes() -> Router<App> {
    Router::new()
}
