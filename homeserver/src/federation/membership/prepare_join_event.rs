//! `GET /_matrix/federation/v1/make_join/{roomId}/{userId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_joinroomiduserid>

use axum::extract::State;
use ruma::{RoomVersionId, api::federation::membership::prepare_join_event::v1};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
    store::Membership,
};

/// A template of a join, for a user of the server that asks.
pub(crate) async fn prepare_join_event(
    State(app): State<App>,
    Signed { origin, request }: Signed<v1::Request>,
) -> ApiResult<v1::Response> {
    let versions = if request.ver.is_empty() {
        vec![RoomVersionId::V1]
    } else {
        request.ver
    };
    let (version, event) = app
        .rooms
        .template(
            &origin,
            &request.room_id,
            &request.user_id,
            Membership::Join,
            &versions,
        )
        .await?;
    let mut response = v1::Response::new(event);
    response.room_version = Some(version);
    Ok(RumaResponse(response))
}
