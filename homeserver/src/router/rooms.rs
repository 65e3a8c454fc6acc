//! Rooms: creation, membership, events, state.

use axum::{
    Router,
    routing::{get, put},
};
use ruma::api::client as wire;

use crate::{
    app::App,
    client::{alias, directory, knock, membership, message, redact, room, state},
    http::route::RouteExt,
};

/// The table.
pub(super) fn routes() -> Router<App> {
    rooms().merge(memberships())
}

fn rooms() -> Router<App> {
    Router::new()
        .endpoint::<wire::room::create_room::v3::Request, _, _>(
            room::create_room::create_room_route,
        )
        .endpoint::<wire::room::upgrade_room::v3::Request, _, _>(
            room::upgrade_room::upgrade_room_route,
        )
        .endpoint::<wire::room::aliases::v3::Request, _, _>(room::aliases::aliases_route)
        .route(
            room::get_expiry_support::PATH,
            get(room::get_expiry_support::get_expiry_support_route),
        )
        .endpoint::<wire::alias::create_alias::v3::Request, _, _>(
            alias::create_alias::create_alias_route,
        )
        .endpoint::<wire::alias::get_alias::v3::Request, _, _>(alias::get_alias::get_alias_route)
        .endpoint::<wire::alias::delete_alias::v3::Request, _, _>(
            alias::delete_alias::delete_alias_route,
        )
        .endpoint::<wire::directory::get_public_rooms::v3::Request, _, _>(
            directory::get_public_rooms::get_public_rooms_route,
        )
        .endpoint::<wire::directory::get_public_rooms_filtered::v3::Request, _, _>(
            directory::get_public_rooms_filtered::get_public_rooms_filtered_route,
        )
        .endpoint::<wire::directory::get_room_visibility::v3::Request, _, _>(
            directory::get_room_visibility::get_room_visibility_route,
        )
        .endpoint::<wire::directory::set_room_visibility::v3::Request, _, _>(
            directory::set_room_visibility::set_room_visibility_route,
        )
        .endpoint::<wire::message::send_message_event::v3::Request, _, _>(
            message::send_message_event::send_message_event_route,
        )
        .endpoint::<wire::state::send_state_event::v3::Request, _, _>(
            state::send_state_event::send_state_event_route,
        )
        .endpoint::<wire::redact::redact_event::v3::Request, _, _>(
            redact::redact_event::redact_event_route,
        )
        // The state key may be left out, with or without the slash before it.
        .route(
            "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
            put(state::send_state_event::send_without_state_key_route),
        )
        .route(
            "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/",
            put(state::send_state_event::send_without_state_key_route),
        )
}

fn memberships() -> Router<App> {
    Router::new()
        .endpoint::<wire::knock::knock_room::v3::Request, _, _>(knock::knock_room::knock_room_route)
        .merge(joins())
}

fn joins() -> Router<App> {
    use membership::*;
    use wire::membership as wire;
    Router::new()
        .endpoint::<wire::join_room_by_id::v3::Request, _, _>(
            join_room_by_id::join_room_by_id_route,
        )
        .endpoint::<wire::join_room_by_id_or_alias::v3::Request, _, _>(
            join_room_by_id_or_alias::join_room_by_id_or_alias_route,
        )
        .endpoint::<wire::invite_user::v3::Request, _, _>(invite_user::invite_user_route)
        .endpoint::<wire::leave_room::v3::Request, _, _>(leave_room::leave_room_route)
        .endpoint::<wire::forget_room::v3::Request, _, _>(forget_room::forget_room_route)
        .endpoint::<wire::kick_user::v3::Request, _, _>(kick_user::kick_user_route)
        .endpoint::<wire::ban_user::v3::Request, _, _>(ban_user::ban_user_route)
        .endpoint::<wire::unban_user::v3::Request, _, _>(unban_user::unban_user_route)
}
