//! `POST /_matrix/client/v3/rooms/{roomId}/invite`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite>

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Active,
    },
    rooms::MembershipChange,
};
use axum::extract::State;
use ruma::api::client::membership::invite_user::v3;
use ruma::api::client::membership::invite_user::v3::InvitationRecipient;

/// Invites somebody, local or not.
pub(crate) async fn invite_user_route(
    State(app): State<App>,
    Active(requester): Active,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let InvitationRecipient::UserId(recipient) = request.recipient else {
        return Err(ApiError::no_identity_server());
    };
    let profile = app.rooms.profile_of(&recipient.user_id).await?;
    let mut content = profile.member("invite", false);
    if let Some(reason) = recipient.reason {
        content["reason"] = reason.into();
    }
    let change = MembershipChange {
        room_id: request.room_id,
        sender: requester.user_id,
        user: recipient.user_id,
        content,
    };
    app.rooms.invite(change).await?;
    Ok(RumaResponse(v3::Response::new()))
}
