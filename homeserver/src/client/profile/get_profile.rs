//! `GET /_matrix/client/v3/profile/{userId}`
//!
//! Invariant: only users learn who exists here, not strangers.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuserid>

use axum::extract::State;
use ruma::{api::client::profile::get_profile::v3, profile::UserProfile};

use super::{may_look, profile_of};
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Shows a profile.
pub(crate) async fn get_profile_route(
    State(app): State<App>,
    requester: Option<Requester>,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    may_look(&app, requester.as_ref())?;
    let profile = profile_of(&app, &request.user_id, None).await?;
    let mut response = v3::Response::default();
    response.data = profile.into_iter().collect::<UserProfile>();
    Ok(RumaResponse(response))
}
