//! End-to-end encryption: device keys, cross-signing, backups, send-to-device.

use axum::Router;
use ruma::api::client::{keys as wire, to_device as wire_to_device};

use crate::{
    app::App,
    client::{keys::*, to_device::*},
    http::route::RouteExt,
};

/// The table.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .endpoint::<wire::upload_keys::v3::Request, _, _>(upload_keys::upload_keys_route)
        .endpoint::<wire::get_keys::v3::Request, _, _>(get_keys::get_keys_route)
        .endpoint::<wire::claim_keys::v3::Request, _, _>(claim_keys::claim_keys_route)
        .endpoint::<wire::upload_signing_keys::v3::Request, _, _>(
            upload_signing_keys::upload_signing_keys_route,
        )
        .endpoint::<wire::upload_signatures::v3::Request, _, _>(
            upload_signatures::upload_signatures_route,
        )
        .endpoint::<wire_to_device::send_event_to_device::v3::Request, _, _>(
            send_event_to_device::send_event_to_device_route,
        )
}
