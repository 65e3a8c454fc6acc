//! `POST /_matrix/federation/v1/get_missing_events/{roomId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1get_missing_eventsroomid>

use axum::extract::State;
use ruma::api::federation::event::get_missing_events::v1;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
    rooms::Between,
};

/// What lies between the extremities of the server that asks and newer events.
pub(crate) async fn get_missing_events(
    State(app): State<App>,
    Signed { origin, request }: Signed<v1::Request>,
) -> ApiResult<v1::Response> {
    let limit = usize::try_from(u64::from(request.limit)).unwrap_or(usize::MAX);
    let between = Between {
        earliest: &request.earliest_events,
        latest: &request.latest_events,
        min_depth: request.min_depth.into(),
    };
    let room = &request.room_id;
    let events = app
        .rooms
        .missing_events_for(&origin, room, between, limit)
        .await?;
    Ok(RumaResponse(v1::Response::new(events)))
}
