//! `GET /_matrix/federation/v1/backfill/{roomId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1backfillroomid>

use axum::extract::State;
use ruma::api::federation::backfill::get_backfill::v1;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
};

/// What lies before some events.
pub(crate) async fn get_backfill(
    State(app): State<App>,
    Signed { origin, request }: Signed<v1::Request>,
) -> ApiResult<v1::Response> {
    let limit = usize::try_from(u64::from(request.limit)).unwrap_or(usize::MAX);
    let events = app
        .rooms
        .backfill_for(&origin, &request.room_id, &request.v, limit)
        .await?;
    let name = app.config.server_name.clone();
    Ok(RumaResponse(v1::Response::new(
        name,
        app.clock.timestamp(),
        events,
    )))
}
