//! `DELETE /_matrix/client/v3/profile/{userId}/{keyName}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3profileuseridkeyname>

use axum::extract::State;
use ruma::api::client::profile::delete_profile_field::v3;

use super::set;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Active,
    },
};

/// Removes a field of the requester's profile.
pub(crate) async fn delete_profile_field_route(
    State(app): State<App>,
    Active(requester): Active,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    requester.must_be(&request.user_id)?;
    let field = request.field.as_str().to_owned();
    set(&app, &requester, field, None).await?;
    Ok(RumaResponse(v3::Response::new()))
}
