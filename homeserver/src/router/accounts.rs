//! Accounts, sessions, devices, profiles, account data, push rules, discovery.

use axum::{Router, routing::get};
use ruma::api::client::{
    account as wire_account, device as wire_device, discovery as wire_discovery,
    session as wire_session,
};

use crate::{
    app::App,
    client::{account, device, discovery, session},
    http::route::RouteExt,
};

/// The table.
pub(super) fn routes() -> Router<App> {
    accounts()
        .merge(sessions())
        .merge(devices())
        .merge(discovery())
}

fn accounts() -> Router<App> {
    use account::*;
    use wire_account as wire;
    Router::new()
        .endpoint::<wire::register::v3::Request, _, _>(register::register_route)
        .endpoint::<wire::get_username_availability::v3::Request, _, _>(
            get_username_availability::get_username_availability_route,
        )
        .endpoint::<wire::check_registration_token_validity::v1::Request, _, _>(
            check_registration_token_validity::check_registration_token_validity_route,
        )
        .endpoint::<wire::whoami::v3::Request, _, _>(whoami::whoami_route)
        .endpoint::<wire::change_password::v3::Request, _, _>(
            change_password::change_password_route,
        )
        .endpoint::<wire::deactivate::v3::Request, _, _>(deactivate::deactivate_route)
        .endpoint::<wire::get_3pids::v3::Request, _, _>(get_3pids::get_3pids_route)
        .route(
            "/_passeur/admin/v1/register",
            get(provision::nonce_route).post(provision::provision_route),
        )
}

fn sessions() -> Router<App> {
    use session::*;
    use wire_session as wire;
    Router::new()
        .endpoint::<wire::get_login_types::v3::Request, _, _>(
            get_login_types::get_login_types_route,
        )
        .endpoint::<wire::login::v3::Request, _, _>(login::login_route)
        .endpoint::<wire::refresh_token::v3::Request, _, _>(refresh_token::refresh_token_route)
        .endpoint::<wire::logout::v3::Request, _, _>(logout::logout_route)
        .endpoint::<wire::logout_all::v3::Request, _, _>(logout_all::logout_all_route)
}

fn devices() -> Router<App> {
    use device::*;
    use wire_device as wire;
    Router::new()
        .endpoint::<wire::get_devices::v3::Request, _, _>(get_devices::get_devices_route)
        .endpoint::<wire::get_device::v3::Request, _, _>(get_device::get_device_route)
        .endpoint::<wire::update_device::v3::Request, _, _>(update_device::update_device_route)
        .endpoint::<wire::delete_device::v3::Request, _, _>(delete_device::delete_device_route)
        .endpoint::<wire::delete_devices::v3::Request, _, _>(delete_devices::delete_devices_route)
}

fn discovery() -> Router<App> {
    use discovery::*;
    use wire_discovery as wire;
    Router::new()
        .endpoint::<wire::get_supported_versions::Request, _, _>(
            get_supported_versions::get_supported_versions_route,
        )
        .endpoint::<wire::get_capabilities::v3::Request, _, _>(
            get_capabilities::get_capabilities_route,
        )
        .endpoint::<wire::discover_homeserver::Request, _, _>(
            discover_homeserver::discover_homeserver_route,
        )
}
