//! `PUT /_matrix/federation/v1/3pid/onbind`
//!
//! Invariant: anybody may call this, so that a call costs no more than a few questions to others.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv13pidonbind>

use axum::extract::State;
use ruma::api::federation::thirdparty::bind_callback::v1;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
    },
    rooms::ThirdPartyInvite,
    store::AccountState,
};

/// Invites of one call that are looked at.
const INVITES_MAX: usize = 5;

/// Brings the invites of somebody of ours whose identifier is bound now. One that does not hold
/// stops no other.
pub(crate) async fn bind_callback(
    State(app): State<App>,
    Ruma(request): Ruma<v1::Request>,
) -> ApiResult<v1::Response> {
    let account = app.store.account(&request.mxid).await?;
    if account.is_none_or(|account| account.state != AccountState::Active) {
        return Err(ApiError::not_found("There is no such user here"));
    }
    for invite in request.invites.into_iter().take(INVITES_MAX) {
        let signed = serde_json::from_str(invite.signed.json().get())
            .map_err(|_| ApiError::bad_json("An object is expected"))?;
        if invite.mxid != request.mxid {
            return Err(ApiError::invalid_param("An invite is for somebody else"));
        }
        let invite = ThirdPartyInvite {
            room_id: invite.room_id,
            sender: invite.sender,
            user: invite.mxid,
            signed,
        };
        if let Err(error) = app.rooms.bind(invite).await {
            tracing::debug!(%error, "a third-party invite does not hold");
        }
    }
    Ok(RumaResponse(v1::Response::new()))
}
