//! `GET /_matrix/client/v1/room_summary/{roomIdOrAlias}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias>

use axum::{extract::State, response::Response};
use ruma::{OwnedRoomId, RoomAliasId, RoomId, api::client::room::get_summary::v1};
use serde::Serialize;

use crate::{
    app::App,
    http::{
        decode::{Ruma, serialized},
        error::ApiError,
        requester::Requester,
    },
    rooms::Summary,
    store::Membership,
};

/// Servers of the query that are asked.
const VIA_MAX: usize = 5;

/// What is answered.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<Membership>,
}

/// A room that the requester, or anybody, may know of. Only users make this server ask another one.
pub(crate) async fn get_summary_route(
    State(app): State<App>,
    requester: Option<Requester>,
    Ruma(request): Ruma<v1::Request>,
) -> Result<Response, ApiError> {
    let not_found = || ApiError::not_found("There is no such room, or you may not know of it");
    let user = requester.as_ref().map(|requester| &*requester.user_id);
    let mut via = request.via;
    via.truncate(VIA_MAX);
    let name = &request.room_id_or_alias;
    let room: OwnedRoomId = match <&RoomAliasId>::try_from(&**name) {
        Ok(alias) if user.is_none() && alias.server_name() != app.config.server_name => {
            return Err(not_found());
        }
        Ok(alias) => {
            let found = app.rooms.resolve_alias(alias).await?;
            let (room, servers) = found.ok_or_else(not_found)?;
            via.extend(servers);
            room
        }
        Err(_) => {
            let room = <&RoomId>::try_from(&**name).map_err(|_| not_found())?;
            via.extend(room.server_name().map(ToOwned::to_owned));
            room.to_owned()
        }
    };
    let summary = app.rooms.preview(user, &room, &via).await?;
    let summary = summary.ok_or_else(not_found)?;
    let membership = match user {
        Some(user) => {
            let rooms = app.rooms.memberships(user).await?;
            let row = rooms.get(&room);
            Some(row.map_or(Membership::Leave, |row| row.membership.clone()))
        }
        None => None,
    };
    serialized(&Answer {
        summary,
        membership,
    })
}
