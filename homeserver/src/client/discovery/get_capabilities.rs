//! `GET /_matrix/client/v3/capabilities`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3capabilities>

use axum::{extract::State, response::Response};
use passeur_protocol::versions::{self, SupportedVersion};
use ruma::api::client::discovery::get_capabilities::v3::{
    AccountModerationCapability, Capabilities, GetLoginTokenCapability, ProfileFieldsCapability,
    Request, RoomVersionStability, RoomVersionsCapability, ThirdPartyIdChangesCapability,
};
use serde_json::json;

use crate::{
    app::App,
    http::{
        decode::{Ruma, serialized},
        error::ApiError,
        requester::Requester,
    },
};

/// Lists what a user may do here.
pub(crate) async fn get_capabilities_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(_): Ruma<Request>,
) -> Result<Response, ApiError> {
    let stability = |version: &SupportedVersion| match version.is_stable {
        true => RoomVersionStability::Stable,
        false => RoomVersionStability::Unstable,
    };
    let mut capabilities = Capabilities::new();
    capabilities.room_versions = RoomVersionsCapability::new(
        app.config.rooms.default_version.clone(),
        versions::supported()
            .iter()
            .map(|version| (version.id.clone(), stability(version)))
            .collect(),
    );
    capabilities.thirdparty_id_changes = ThirdPartyIdChangesCapability::new(false);
    capabilities.profile_fields = Some(ProfileFieldsCapability::new(true));
    capabilities.get_login_token = GetLoginTokenCapability::new(true);
    let is_admin = app.config.admin.is_admin(&requester.user_id);
    capabilities.account_moderation = AccountModerationCapability::new(is_admin, is_admin);
    let mut all = serde_json::to_value(capabilities).map_err(|_| ApiError::internal())?;
    // What is as the specification presumes, the type leaves out; clients look for it all the same, and `m.profile_fields` makes the
    // last two mandatory.
    for name in ["m.change_password", "m.set_displayname", "m.set_avatar_url"] {
        all[name] = json!({ "enabled": true });
    }
    serialized(&json!({ "capabilities": all }))
}
