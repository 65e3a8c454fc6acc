//! Reading rooms: history, state, members, relations, receipts.

use axum::{
    Router,
    routing::{get, post},
};
use ruma::api::client::{
    context::get_context,
    membership::{get_member_events, get_mutual_rooms, joined_members, joined_rooms},
    message::get_message_events,
    presence::{get_presence, set_presence},
    read_marker::set_read_marker,
    receipt::create_receipt,
    relations::{
        get_relating_events, get_relating_events_with_rel_type,
        get_relating_events_with_rel_type_and_event_type,
    },
    room::{get_event_by_timestamp, get_room_event, get_summary},
    space::get_hierarchy,
    state::{get_state_event_for_key, get_state_events},
    threads::get_threads,
    typing::create_typing_event,
};

use crate::{
    app::App,
    client::{
        context::get_context::get_context_route,
        membership::{
            get_member_events::get_member_events_route, get_mutual_rooms::get_mutual_rooms_route,
            joined_members::joined_members_route, joined_rooms::joined_rooms_route,
        },
        message::get_message_events::get_message_events_route,
        presence::{get_presence::get_presence_route, set_presence::set_presence_route},
        read_marker::set_read_marker::set_read_marker_route,
        receipt::create_receipt::create_receipt_route,
        relations::get_relating_events as relations,
        room::{
            get_event_by_timestamp::get_event_by_timestamp_route,
            get_room_event::get_room_event_route, get_summary::get_summary_route,
        },
        search::search_events::search_events_route,
        space::get_hierarchy::get_hierarchy_route,
        state::{
            get_state_event_for_key::get_state_event_for_key_route,
            get_state_events::get_state_events_route,
        },
        threads::get_threads::get_threads_route,
        typing::create_typing_event::create_typing_event_route,
    },
    http::route::RouteExt,
};

/// The table.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .endpoint::<get_message_events::v3::Request, _, _>(get_message_events_route)
        .endpoint::<get_context::v3::Request, _, _>(get_context_route)
        .endpoint::<get_room_event::v3::Request, _, _>(get_room_event_route)
        .route("/_matrix/client/r0/search", post(search_events_route))
        .route("/_matrix/client/v3/search", post(search_events_route))
        .endpoint::<get_event_by_timestamp::v1::Request, _, _>(get_event_by_timestamp_route)
        .endpoint::<get_summary::v1::Request, _, _>(get_summary_route)
        .endpoint::<get_hierarchy::v1::Request, _, _>(get_hierarchy_route)
        .endpoint::<get_threads::v1::Request, _, _>(get_threads_route)
        .endpoint::<get_relating_events::v1::Request, _, _>(relations::get_relating_events_route)
        .endpoint::<get_relating_events_with_rel_type::v1::Request, _, _>(
            relations::get_relating_events_with_rel_type_route,
        )
        .endpoint::<get_relating_events_with_rel_type_and_event_type::v1::Request, _, _>(
            relations::get_relating_events_with_event_type_route,
        )
        .endpoint::<get_state_events::v3::Request, _, _>(get_state_events_route)
        .endpoint::<get_state_event_for_key::v3::Request, _, _>(get_state_event_for_key_route)
        // The state key may be left out, with or without the slash before it.
        .route(
            "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
            get(get_state_event_for_key_route),
        )
        .route(
            "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/",
            get(get_state_event_for_key_route),
        )
        .endpoint::<get_member_events::v3::Request, _, _>(get_member_events_route)
        .endpoint::<joined_members::v3::Request, _, _>(joined_members_route)
        .endpoint::<get_mutual_rooms::v1::Request, _, _>(get_mutual_rooms_route)
        .endpoint::<joined_rooms::v3::Request, _, _>(joined_rooms_route)
        .endpoint::<create_receipt::v3::Request, _, _>(create_receipt_route)
        .endpoint::<set_read_marker::v3::Request, _, _>(set_read_marker_route)
        .endpoint::<get_presence::v3::Request, _, _>(get_presence_route)
        .endpoint::<set_presence::v3::Request, _, _>(set_presence_route)
        .endpoint::<create_typing_event::v3::Request, _, _>(create_typing_event_route)
}
