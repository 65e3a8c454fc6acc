//! Accounts, sessions, devices, profiles, account data, push rules, discovery.

use axum::{Router, routing::get};
use ruma::api::client as wire;

use crate::{app::App, client, http::route::RouteExt};

/// The table.
pub(super) fn routes() -> Router<App> {
    accounts()
        .merge(account_data())
        .merge(profiles())
        .merge(push())
        .merge(sessions())
        .merge(devices())
        .merge(third_party_ids())
        .merge(third_party_networks())
        .merge(admin())
        .merge(reports())
        .merge(discovery())
}

fn accounts() -> Router<App> {
    use client::{account::*, uiaa::get_uiaa_fallback_page as fallback};
    let fallback = get(fallback::get_uiaa_fallback_page_route).post(fallback::submit_route);
    Router::new()
        .route(
            "/_matrix/client/r0/auth/{auth_type}/fallback/web",
            fallback.clone(),
        )
        .route("/_matrix/client/v3/auth/{auth_type}/fallback/web", fallback)
        .endpoint::<wire::account::register::v3::Request, _, _>(register::register_route)
        .endpoint::<wire::account::get_username_availability::v3::Request, _, _>(
            get_username_availability::get_username_availability_route,
        )
        .endpoint::<wire::account::check_registration_token_validity::v1::Request, _, _>(
            check_registration_token_validity::check_registration_token_validity_route,
        )
        .endpoint::<wire::account::whoami::v3::Request, _, _>(whoami::whoami_route)
        .endpoint::<wire::account::change_password::v3::Request, _, _>(
            change_password::change_password_route,
        )
        .endpoint::<wire::account::deactivate::v3::Request, _, _>(deactivate::deactivate_route)
        .endpoint::<wire::account::get_3pids::v3::Request, _, _>(get_3pids::get_3pids_route)
        .route(
            "/_passeur/admin/v1/register",
            get(provision::nonce_route).post(provision::provision_route),
        )
}

fn sessions() -> Router<App> {
    use client::session::*;
    let page = get(get_login_fallback_page::get_login_fallback_page_route);
    Router::new()
        .route("/_matrix/static/client/login/", page.clone())
        .route("/_matrix/static/client/login", page)
        .endpoint::<wire::session::get_login_types::v3::Request, _, _>(
            get_login_types::get_login_types_route,
        )
        .endpoint::<wire::session::login::v3::Request, _, _>(login::login_route)
        .endpoint::<wire::session::get_login_token::v1::Request, _, _>(
            get_login_token::get_login_token_route,
        )
        .endpoint::<wire::session::refresh_token::v3::Request, _, _>(
            refresh_token::refresh_token_route,
        )
        .endpoint::<wire::session::logout::v3::Request, _, _>(logout::logout_route)
        .endpoint::<wire::session::logout_all::v3::Request, _, _>(logout_all::logout_all_route)
}

fn devices() -> Router<App> {
    use client::device::*;
    Router::new()
        .endpoint::<wire::device::get_devices::v3::Request, _, _>(get_devices::get_devices_route)
        .endpoint::<wire::device::get_device::v3::Request, _, _>(get_device::get_device_route)
        .endpoint::<wire::device::update_device::v3::Request, _, _>(
            update_device::update_device_route,
        )
        .endpoint::<wire::device::delete_device::v3::Request, _, _>(
            delete_device::delete_device_route,
        )
        .endpoint::<wire::device::delete_devices::v3::Request, _, _>(
            delete_devices::delete_devices_route,
        )
}

fn discovery() -> Router<App> {
    use client::discovery::*;
    Router::new()
        .endpoint::<wire::discovery::get_supported_versions::Request, _, _>(
            get_supported_versions::get_supported_versions_route,
        )
        .endpoint::<wire::discovery::get_capabilities::v3::Request, _, _>(
            get_capabilities::get_capabilities_route,
        )
        .endpoint::<wire::discovery::discover_homeserver::Request, _, _>(
            discover_homeserver::discover_homeserver_route,
        )
        .endpoint::<wire::discovery::discover_support::Request, _, _>(
            discover_support::discover_support_route,
        )
        .endpoint::<wire::voip::get_turn_server_info::v3::Request, _, _>(
            client::voip::get_turn_server_info::get_turn_server_info_route,
        )
}

fn account_data() -> Router<App> {
    use client::{config::*, filter::*, tag::*, user::*, user_directory::*};
    Router::new()
        .endpoint::<wire::config::get_global_account_data::v3::Request, _, _>(
            get_global_account_data::get_global_account_data_route,
        )
        .endpoint::<wire::config::set_global_account_data::v3::Request, _, _>(
            set_global_account_data::set_global_account_data_route,
        )
        .endpoint::<wire::config::get_room_account_data::v3::Request, _, _>(
            get_room_account_data::get_room_account_data_route,
        )
        .endpoint::<wire::config::set_room_account_data::v3::Request, _, _>(
            set_room_account_data::set_room_account_data_route,
        )
        .endpoint::<wire::tag::get_tags::v3::Request, _, _>(get_tags::get_tags_route)
        .endpoint::<wire::tag::create_tag::v3::Request, _, _>(create_tag::create_tag_route)
        .endpoint::<wire::tag::delete_tag::v3::Request, _, _>(delete_tag::delete_tag_route)
        .endpoint::<wire::filter::create_filter::v3::Request, _, _>(
            create_filter::create_filter_route,
        )
        .endpoint::<wire::filter::get_filter::v3::Request, _, _>(get_filter::get_filter_route)
        .endpoint::<wire::account::request_openid_token::v3::Request, _, _>(
            request_openid_token::request_openid_token_route,
        )
        .endpoint::<wire::user_directory::search_users::v3::Request, _, _>(
            search_users::search_users_route,
        )
}

fn profiles() -> Router<App> {
    use client::profile::*;
    Router::new()
        .endpoint::<wire::profile::get_profile::v3::Request, _, _>(get_profile::get_profile_route)
        .endpoint::<wire::profile::get_profile_field::v3::Request, _, _>(
            get_profile_field::get_profile_field_route,
        )
        .endpoint::<wire::profile::set_profile_field::v3::Request, _, _>(
            set_profile_field::set_profile_field_route,
        )
        .endpoint::<wire::profile::delete_profile_field::v3::Request, _, _>(
            delete_profile_field::delete_profile_field_route,
        )
}

fn push() -> Router<App> {
    use client::push::*;
    Router::new()
        .endpoint::<wire::push::get_pushrules_all::v3::Request, _, _>(
            get_pushrules_all::get_pushrules_all_route,
        )
        .endpoint::<wire::push::get_pushrules_global_scope::v3::Request, _, _>(
            get_pushrules_global_scope::get_pushrules_global_scope_route,
        )
        .endpoint::<wire::push::get_pushrule::v3::Request, _, _>(get_pushrule::get_pushrule_route)
        .endpoint::<wire::push::set_pushrule::v3::Request, _, _>(set_pushrule::set_pushrule_route)
        .endpoint::<wire::push::delete_pushrule::v3::Request, _, _>(
            delete_pushrule::delete_pushrule_route,
        )
        .endpoint::<wire::push::get_pushrule_actions::v3::Request, _, _>(
            get_pushrule_actions::get_pushrule_actions_route,
        )
        .endpoint::<wire::push::set_pushrule_actions::v3::Request, _, _>(
            set_pushrule_actions::set_pushrule_actions_route,
        )
        .endpoint::<wire::push::get_pushrule_enabled::v3::Request, _, _>(
            get_pushrule_enabled::get_pushrule_enabled_route,
        )
        .endpoint::<wire::push::set_pushrule_enabled::v3::Request, _, _>(
            set_pushrule_enabled::set_pushrule_enabled_route,
        )
        .endpoint::<wire::push::get_notifications::v3::Request, _, _>(
            get_notifications::get_notifications_route,
        )
        .endpoint::<wire::push::get_pushers::v3::Request, _, _>(get_pushers::get_pushers_route)
        .endpoint::<wire::push::set_pusher::v3::Request, _, _>(set_pusher::set_pusher_route)
}

fn third_party_ids() -> Router<App> {
    use client::account::*;
    use wire::account as wire;
    Router::new()
        .endpoint::<wire::request_registration_token_via_email::v3::Request, _, _>(
            request_registration_token_via_email::request_registration_token_via_email_route,
        )
        .endpoint::<wire::request_registration_token_via_msisdn::v3::Request, _, _>(
            request_registration_token_via_msisdn::request_registration_token_via_msisdn_route,
        )
        .endpoint::<wire::request_password_change_token_via_email::v3::Request, _, _>(
            request_password_change_token_via_email::request_password_change_token_via_email_route,
        )
        .endpoint::<wire::request_password_change_token_via_msisdn::v3::Request, _, _>(
            request_password_change_token_via_msisdn::request_password_change_token_via_msisdn_route,
        )
        .endpoint::<wire::request_3pid_management_token_via_email::v3::Request, _, _>(
            request_3pid_management_token_via_email::request_3pid_management_token_via_email_route,
        )
        .endpoint::<wire::request_3pid_management_token_via_msisdn::v3::Request, _, _>(
            request_3pid_management_token_via_msisdn::request_3pid_management_token_via_msisdn_route,
        )
        .endpoint::<wire::add_3pid::v3::Request, _, _>(
            add_3pid::add_3pid_route,
        )
        .endpoint::<wire::bind_3pid::v3::Request, _, _>(
            bind_3pid::bind_3pid_route,
        )
        .endpoint::<wire::delete_3pid::v3::Request, _, _>(
            delete_3pid::delete_3pid_route,
        )
        .endpoint::<wire::unbind_3pid::v3::Request, _, _>(
            unbind_3pid::unbind_3pid_route,
        )
}

fn third_party_networks() -> Router<App> {
    use client::thirdparty::*;
    use wire::thirdparty as wire;
    Router::new()
        .endpoint::<wire::get_protocols::v3::Request, _, _>(get_protocols::get_protocols_route)
        .endpoint::<wire::get_protocol::v3::Request, _, _>(get_protocol::get_protocol_route)
        .endpoint::<wire::get_location_for_protocol::v3::Request, _, _>(
            get_location_for_protocol::get_location_for_protocol_route,
        )
        .endpoint::<wire::get_user_for_protocol::v3::Request, _, _>(
            get_user_for_protocol::get_user_for_protocol_route,
        )
        .endpoint::<wire::get_location_for_room_alias::v3::Request, _, _>(
            get_location_for_room_alias::get_location_for_room_alias_route,
        )
        .endpoint::<wire::get_user_for_user_id::v3::Request, _, _>(
            get_user_for_user_id::get_user_for_user_id_route,
        )
}

fn admin() -> Router<App> {
    use client::admin::*;
    use wire::admin as wire;
    Router::new()
        .endpoint::<wire::get_user_info::v3::Request, _, _>(get_user_info::get_user_info_route)
        .endpoint::<wire::is_user_locked::v1::Request, _, _>(is_user_locked::is_user_locked_route)
        .endpoint::<wire::lock_user::v1::Request, _, _>(lock_user::lock_user_route)
        .endpoint::<wire::is_user_suspended::v1::Request, _, _>(
            is_user_suspended::is_user_suspended_route,
        )
        .endpoint::<wire::suspend_user::v1::Request, _, _>(suspend_user::suspend_user_route)
}

fn reports() -> Router<App> {
    use client::reporting::*;
    Router::new()
        .endpoint::<wire::room::report_content::v3::Request, _, _>(
            report_content::report_content_route,
        )
        .endpoint::<wire::room::report_room::v3::Request, _, _>(report_room::report_room_route)
        .endpoint::<wire::reporting::report_user::v3::Request, _, _>(report_user::report_user_route)
}
