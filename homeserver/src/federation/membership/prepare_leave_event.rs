//! `GET /_matrix/federation/v1/make_leave/{roomId}/{userId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_leaveroomiduserid>

use axum::extract::State;
use ruma::api::federation::membership::prepare_leave_event::v1;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
    store::Membership,
};

/// A template of a leave, for a user of the server that asks.
pub(crate) async fn prepare_leave_event(
    State(app): State<App>,
    Signed { origin, request }: Signed<v1::Request>,
) -> ApiResult<v1::Response> {
    let (version, event) = app
        .rooms
        .template(
            &origin,
            &request.room_id,
            &request.user_id,
            Membership::Leave,
            &[],
        )
        .await?;
    Ok(RumaResponse(v1::Response::new(Some(version), event)))
}
