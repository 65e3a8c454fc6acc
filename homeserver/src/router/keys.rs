//! End-to-end encryption: device keys, cross-signing, backups, send-to-device.

use axum::Router;

use crate::app::App;

/// The table.
pub(super) fn routes() -> Router<App> {
    Router::new()
}
