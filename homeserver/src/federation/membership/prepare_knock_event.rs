//! `GET /_matrix/federation/v1/make_knock/{roomId}/{userId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_knockroomiduserid>

use axum::extract::State;
use ruma::api::federation::membership::prepare_knock_event::v1;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
    store::Membership,
};

/// A template of a knock, for a user of the server that asks.
pub(crate) async fn prepare_knock_event(
    State(app): State<App>,
    Signed { origin, request }: Signed<v1::Request>,
) -> ApiResult<v1::Response> {
    let (room, user) = (&request.room_id, &request.user_id);
    let (version, event) = app
        .rooms
        .template(&origin, room, user, Membership::Knock, &request.ver)
        .await?;
    Ok(RumaResponse(v1::Response::new(version, event)))
}
