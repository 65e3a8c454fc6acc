//! `PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid>

use axum::extract::State;
use ruma::{api::federation::thirdparty::exchange_invite::v1, events::StateEventType};
use serde_json::Value;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        error::ApiError,
        origin::Signed,
    },
    rooms::ThirdPartyInvite,
};

/// Makes the invite that one of ours sent to a third-party identifier one of its owner.
pub(crate) async fn exchange_invite(
    State(app): State<App>,
    Signed { origin, request }: Signed<v1::Request>,
) -> ApiResult<v1::Response> {
    let invalid = || ApiError::invalid_param("This is no third-party invite");
    if request.state_key.server_name() != origin {
        return Err(ApiError::forbidden("The invited user is not one of yours"));
    }
    let mut content: Value =
        serde_json::from_str(request.content.json().get()).map_err(|_| invalid())?;
    if request.kind != StateEventType::RoomMember || content["membership"] != "invite" {
        return Err(invalid());
    }
    let invite = ThirdPartyInvite {
        room_id: request.room_id,
        sender: request.sender,
        user: request.state_key,
        signed: content["third_party_invite"]["signed"].take(),
    };
    app.rooms.exchange(&origin, invite).await?;
    Ok(RumaResponse(v1::Response::new()))
}
