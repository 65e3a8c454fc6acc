//! `GET /_matrix/client/v1/rooms/{roomId}/hierarchy`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy>

use axum::{extract::State, response::Response};
use ruma::api::client::space::get_hierarchy::v1;

use crate::{
    app::App,
    http::{
        decode::{Ruma, serialized},
        error::ApiError,
        requester::Requester,
    },
    rooms::HierarchyQuery,
};

/// A page of the tree of a space.
pub(crate) async fn get_hierarchy_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v1::Request>,
) -> Result<Response, ApiError> {
    let query = HierarchyQuery {
        suggested_only: request.suggested_only,
        max_depth: request.max_depth.map(u64::from),
        limit: request.limit.map(u64::from),
        from: request.from,
    };
    let (user, space) = (&requester.user_id, &request.room_id);
    serialized(&app.rooms.hierarchy(user, space, &query).await?)
}
