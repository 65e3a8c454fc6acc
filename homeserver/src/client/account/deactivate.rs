//! `POST /_matrix/client/v3/account/deactivate`
//!
//! Invariant: a token alone does not suffice; the password is asked for, and suffices alone.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>

use axum::extract::State;
use ruma::{
    OwnedUserId,
    api::client::account::{ThirdPartyIdRemovalStatus, deactivate::v3},
};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
        uia::Operation,
    },
    store::Membership,
};

/// Ends the account for ever.
pub(crate) async fn deactivate_route(
    State(app): State<App>,
    requester: Option<Requester>,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let (operation, auth) = (Operation::Deactivate, request.auth.as_ref());
    let user = match requester {
        Some(requester) => {
            let user = requester.user_id;
            app.uia.require_password(operation, &user, auth).await?;
            user
        }
        None => app.uia.require_anybodys_password(operation, auth).await?,
    };
    app.accounts.deactivate(&user).await?;
    // On a task of its own, so that a client that goes away does not stop it halfway.
    let leaving = tokio::spawn(leave_all(app.clone(), user));
    if leaving.await.is_err() {
        return Err(ApiError::internal());
    }
    // No third-party identifier was ever bound.
    let status = ThirdPartyIdRemovalStatus::Success;
    Ok(RumaResponse(v3::Response::new(status)))
}

/// Leaves all rooms and refuses all invites. One room that does not let go stops no other.
async fn leave_all(app: App, user: OwnedUserId) {
    let rooms = match app.rooms.memberships(&user).await {
        Ok(rooms) => rooms,
        Err(error) => {
            tracing::error!(%error, "the rooms of a deactivated user cannot be read");
            return;
        }
    };
    let held = [Membership::Join, Membership::Invite, Membership::Knock];
    for row in rooms.values().filter(|row| held.contains(&row.membership)) {
        if let Err(error) = app.rooms.leave(&row.room_id, &user, None).await {
            tracing::warn!(%error, "a deactivated user could not leave a room");
        }
    }
}
