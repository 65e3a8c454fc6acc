//! End-to-end encryption: device keys, cross-signing, backups, dehydrated devices, send-to-device.

use axum::{Router, routing::get};
use ruma::api::client::{
    backup as wire_backup, dehydrated_device as wire_dehydrated, keys as wire,
    to_device as wire_to_device,
};

use crate::{
    app::App,
    client::{backup::*, dehydrated_device::*, keys::*, to_device::*},
    http::route::RouteExt,
};

/// The table.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .merge(backups())
        .merge(dehydrated_devices())
        .endpoint::<wire::upload_keys::v3::Request, _, _>(upload_keys::upload_keys_route)
        .endpoint::<wire::get_keys::v3::Request, _, _>(get_keys::get_keys_route)
        .endpoint::<wire::get_key_changes::v3::Request, _, _>(
            get_key_changes::get_key_changes_route,
        )
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

fn backups() -> Router<App> {
    Router::new()
        .endpoint::<wire_backup::create_backup_version::v3::Request, _, _>(
            create_backup_version::create_backup_version_route,
        )
        .endpoint::<wire_backup::get_latest_backup_info::v3::Request, _, _>(
            get_latest_backup_info::get_latest_backup_info_route,
        )
        .endpoint::<wire_backup::get_backup_info::v3::Request, _, _>(
            get_backup_info::get_backup_info_route,
        )
        .endpoint::<wire_backup::update_backup_version::v3::Request, _, _>(
            update_backup_version::update_backup_version_route,
        )
        .endpoint::<wire_backup::delete_backup_version::v3::Request, _, _>(
            delete_backup_version::delete_backup_version_route,
        )
        .endpoint::<wire_backup::add_backup_keys::v3::Request, _, _>(
            add_backup_keys::add_backup_keys_route,
        )
        .endpoint::<wire_backup::get_backup_keys::v3::Request, _, _>(
            get_backup_keys::get_backup_keys_route,
        )
        .endpoint::<wire_backup::delete_backup_keys::v3::Request, _, _>(
            delete_backup_keys::delete_backup_keys_route,
        )
        .endpoint::<wire_backup::add_backup_keys_for_room::v3::Request, _, _>(
            add_backup_keys_for_room::add_backup_keys_for_room_route,
        )
        .endpoint::<wire_backup::get_backup_keys_for_room::v3::Request, _, _>(
            get_backup_keys_for_room::get_backup_keys_for_room_route,
        )
        .endpoint::<wire_backup::delete_backup_keys_for_room::v3::Request, _, _>(
            delete_backup_keys_for_room::delete_backup_keys_for_room_route,
        )
        .endpoint::<wire_backup::add_backup_keys_for_session::v3::Request, _, _>(
            add_backup_keys_for_session::add_backup_keys_for_session_route,
        )
        .endpoint::<wire_backup::get_backup_keys_for_session::v3::Request, _, _>(
            get_backup_keys_for_session::get_backup_keys_for_session_route,
        )
        .endpoint::<wire_backup::delete_backup_keys_for_session::v3::Request, _, _>(
            delete_backup_keys_for_session::delete_backup_keys_for_session_route,
        )
}

fn dehydrated_devices() -> Router<App> {
    Router::new()
        .endpoint::<wire_dehydrated::put_dehydrated_device::unstable::Request, _, _>(
            put_dehydrated_device::put_dehydrated_device_route,
        )
        .endpoint::<wire_dehydrated::get_dehydrated_device::unstable::Request, _, _>(
            get_dehydrated_device::get_dehydrated_device_route,
        )
        .endpoint::<wire_dehydrated::delete_dehydrated_device::unstable::Request, _, _>(
            delete_dehydrated_device::delete_dehydrated_device_route,
        )
        .endpoint::<wire_dehydrated::get_events::unstable::Request, _, _>(
            get_events::post_events_route,
        )
        .route(get_events::PATH, get(get_events::get_events_route))
}
