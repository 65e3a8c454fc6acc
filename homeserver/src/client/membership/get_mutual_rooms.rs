//! `GET /_matrix/client/v1/mutual_rooms`
//!
//! Invariant: pages follow the order of the rooms' ids, so that a room that is joined meanwhile shifts nothing.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms>

use axum::extract::State;
use ruma::{OwnedRoomId, UInt, api::client::membership::get_mutual_rooms::v1};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    store::Membership,
};

/// Rooms in one answer.
const ROOMS_MAX: usize = 100;

/// Lists the rooms that the requester and another user are both joined to.
pub(crate) async fn get_mutual_rooms_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v1::Request>,
) -> ApiResult<v1::Response> {
    let other = &request.user_id;
    if *other == requester.user_id || other.validate_strict().is_err() {
        return Err(ApiError::invalid_param(
            "This is no valid id of another user",
        ));
    }
    let from = request.from.map(OwnedRoomId::try_from).transpose();
    let from = from.map_err(|_| ApiError::invalid_param("The token is not one of ours"))?;
    let mut rooms = Vec::new();
    for (room, row) in app.rooms.memberships(&requester.user_id).await?.iter() {
        if row.membership == Membership::Join
            && let Some(snapshot) = app.rooms.snapshot(room).await?
            && snapshot.members.is_joined(other)
        {
            rooms.push(room.clone());
        }
    }
    rooms.sort();
    let count = UInt::try_from(rooms.len()).unwrap_or(UInt::MAX);
    rooms.retain(|room| from.as_ref().is_none_or(|from| room > from));
    let has_more = rooms.len() > ROOMS_MAX;
    rooms.truncate(ROOMS_MAX);
    let next = rooms.last().filter(|_| has_more).map(ToString::to_string);
    let mut response = v1::Response::new(count, rooms);
    response.next_batch = next;
    Ok(RumaResponse(response))
}
