//! Accounts, sessions, devices, profiles, account data, push rules, discovery.

use axum::Router;

use crate::app::App;

/// The table.
pub(super) fn routes() -> Router<App> {
    Router::new()
}
