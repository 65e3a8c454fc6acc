//! The server-server API and signing keys.

use axum::{
    Router,
    routing::{get, put},
};
use ruma::api::federation::discovery::{
    discover_homeserver, get_remote_server_keys::v2 as get_remote_server_keys,
    get_remote_server_keys_batch::v2 as get_remote_server_keys_batch,
    get_server_keys::v2 as get_server_keys, get_server_version::v1 as get_server_version,
};

use crate::{
    app::App,
    federation::{
        authenticated_media, authorization, backfill, device, directory, discovery as answers,
        event, expiry, keys, membership, openid, query, space, thirdparty, transactions,
    },
    http::route::RouteExt,
    outbound::EXPIRY_SUPPORT_PATH,
};

/// The table.
pub(super) fn routes() -> Router<App> {
    discovery()
        .merge(memberships())
        .merge(rooms())
        .merge(people())
}

/// Transactions, and questions about people and their devices.
fn people() -> Router<App> {
    use ruma::api::federation as wire;
    Router::new()
        .endpoint::<wire::transactions::send_transaction_message::v1::Request, _, _>(
            transactions::send_transaction_message::send_transaction_message,
        )
        .endpoint::<wire::device::get_devices::v1::Request, _, _>(device::get_devices::get_devices)
        .endpoint::<wire::keys::get_keys::v1::Request, _, _>(keys::get_keys::get_keys)
        .endpoint::<wire::keys::claim_keys::v1::Request, _, _>(keys::claim_keys::claim_keys)
        .endpoint::<wire::directory::get_public_rooms::v1::Request, _, _>(
            directory::get_public_rooms::get_public_rooms,
        )
        .endpoint::<wire::directory::get_public_rooms_filtered::v1::Request, _, _>(
            directory::get_public_rooms_filtered::get_public_rooms_filtered,
        )
        .endpoint::<wire::query::get_room_information::v1::Request, _, _>(
            query::get_room_information::get_room_information,
        )
        .endpoint::<wire::query::get_profile_information::v1::Request, _, _>(
            query::get_profile_information::get_profile_information,
        )
        .endpoint::<wire::openid::get_openid_userinfo::v1::Request, _, _>(
            openid::get_openid_userinfo::get_openid_userinfo,
        )
        .endpoint::<wire::authenticated_media::get_content::v1::Request, _, _>(
            authenticated_media::get_content::get_content,
        )
        .endpoint::<wire::authenticated_media::get_content_thumbnail::v1::Request, _, _>(
            authenticated_media::get_content_thumbnail::get_content_thumbnail,
        )
        .route(EXPIRY_SUPPORT_PATH, get(expiry::get_expiry_support))
}

fn memberships() -> Router<App> {
    use membership::older;
    use ruma::api::federation as wire;
    Router::new()
        .endpoint::<wire::membership::prepare_join_event::v1::Request, _, _>(
            membership::prepare_join_event::prepare_join_event,
        )
        .endpoint::<wire::membership::create_join_event::v2::Request, _, _>(
            membership::create_join_event::create_join_event,
        )
        .endpoint::<wire::membership::prepare_leave_event::v1::Request, _, _>(
            membership::prepare_leave_event::prepare_leave_event,
        )
        .endpoint::<wire::membership::create_leave_event::v2::Request, _, _>(
            membership::create_leave_event::create_leave_event,
        )
        .endpoint::<wire::membership::prepare_knock_event::v1::Request, _, _>(
            membership::prepare_knock_event::prepare_knock_event,
        )
        .endpoint::<wire::membership::create_knock_event::v1::Request, _, _>(
            membership::create_knock_event::create_knock_event,
        )
        .endpoint::<wire::membership::create_invite::v1::Request, _, _>(
            membership::create_invite::create_invite_v1,
        )
        .endpoint::<wire::membership::create_invite::v2::Request, _, _>(
            membership::create_invite::create_invite,
        )
        .endpoint::<wire::thirdparty::exchange_invite::v1::Request, _, _>(
            thirdparty::exchange_invite::exchange_invite,
        )
        .endpoint::<wire::thirdparty::bind_callback::v1::Request, _, _>(
            thirdparty::bind_callback::bind_callback,
        )
        .route(older::SEND_JOIN, put(older::send_join))
        .route(older::SEND_LEAVE, put(older::send_leave))
}

fn rooms() -> Router<App> {
    use ruma::api::federation as wire;
    Router::new()
        .endpoint::<wire::event::get_event::v1::Request, _, _>(event::get_event::get_event)
        .endpoint::<wire::event::get_event_by_timestamp::v1::Request, _, _>(
            event::get_event_by_timestamp::get_event_by_timestamp,
        )
        .endpoint::<wire::space::get_hierarchy::v1::Request, _, _>(
            space::get_hierarchy::get_hierarchy,
        )
        .endpoint::<wire::event::get_missing_events::v1::Request, _, _>(
            event::get_missing_events::get_missing_events,
        )
        .endpoint::<wire::event::get_room_state::v1::Request, _, _>(
            event::get_room_state::get_room_state,
        )
        .endpoint::<wire::event::get_room_state_ids::v1::Request, _, _>(
            event::get_room_state_ids::get_room_state_ids,
        )
        .endpoint::<wire::authorization::get_event_authorization::v1::Request, _, _>(
            authorization::get_event_authorization::get_event_authorization,
        )
        .endpoint::<wire::backfill::get_backfill::v1::Request, _, _>(
            backfill::get_backfill::get_backfill,
        )
}

fn discovery() -> Router<App> {
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
