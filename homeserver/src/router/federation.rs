//! The server-server API and signing keys.

use axum::Router;
use ruma::api::federation::discovery::{
    discover_homeserver, get_remote_server_keys::v2 as get_remote_server_keys,
    get_remote_server_keys_batch::v2 as get_remote_server_keys_batch,
    get_server_keys::v2 as get_server_keys, get_server_version::v1 as get_server_version,
};

use crate::{app::App, federation::discovery as answers, http::route::RouteExt};

/// The table.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .endpoint::<discover_homeserver::Request, _, _>(
            answers::discover_homeserver::discover_homeserver,
        )
        .endpoint::<get_server_version::Request, _, _>(
            answers::get_server_version::get_server_version,
        )
        .endpoint::<get_server_keys::Request, _, _>(answers::get_server_keys::get_server_keys)
        .endpoint::<get_remote_server_keys::Request, _, _>(
            answers::get_remote_server_keys::get_remote_server_keys,
        )
        .endpoint::<get_remote_server_keys_batch::Request, _, _>(
            answers::get_remote_server_keys_batch::get_remote_server_keys_batch,
        )
}
