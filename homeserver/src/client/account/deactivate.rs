//! `POST /_matrix/client/v3/account/deactivate`
//!
//! Invariant: a token alone does not suffice; the password is asked for.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>

use axum::extract::State;
use ruma::api::client::account::{ThirdPartyIdRemovalStatus, deactivate::v3};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
        uia::Operation,
    },
};

/// Ends the account for ever.
pub(crate) async fn deactivate_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let user = &requester.user_id;
    app.uia
        .require_password(Operation::Deactivate, user, request.auth.as_ref())
        .await?;
    app.accounts.deactivate(user).await?;
    // No third-party identifier was ever bound.
    let status = ThirdPartyIdRemovalStatus::Success;
    Ok(RumaResponse(v3::Response::new(status)))
}
