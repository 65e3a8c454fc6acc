//! `GET /_matrix/client/v3/joined_rooms`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3joined_rooms>

use axum::extract::State;
use ruma::api::client::membership::joined_rooms::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::Membership,
};

/// The rooms that the requester is joined to.
pub(crate) async fn joined_rooms_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let memberships = app.rooms.memberships(&requester.user_id).await?;
    let joined = memberships
        .values()
        .filter(|row| row.membership == Membership::Join);
    let mut joined: Vec<_> = joined.map(|row| row.room_id.clone()).collect();
    joined.sort_unstable();
    Ok(RumaResponse(v3::Response::new(joined)))
}
