//! `GET /_matrix/client/v3/rooms/{roomId}/members`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers>

use axum::{extract::State, response::Response};
use passeur_protocol::visibility::membership_of;
use ruma::{api::client::membership::get_member_events::v3, events::StateEventType};

use crate::{
    app::App,
    client::reading::{ReadableRoom, answer},
    http::{decode::Ruma, error::ApiError, requester::Requester},
    rooms::json::JsonWriter,
};

/// The members of a room: now, at a point of its timeline, or when the requester left.
pub(crate) async fn get_member_events_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let room = ReadableRoom::open(&app, &requester, &request.room_id).await?;
    let state = match &request.at {
        None => room.state().await?,
        Some(token) => {
            let mut gap = room.gap(token).await?;
            if let Some(left) = room.standing.left_at() {
                gap.0 = gap.0.min(left + 1);
            }
            room.state_before_gap(gap).await?
        }
    };
    let members = state
        .iter()
        .filter(|((kind, _), _)| *kind == StateEventType::RoomMember);
    let ids: Vec<_> = members.map(|(_, id)| id.clone()).collect();
    let mut events = app.store.events(&ids).await?;
    events.retain(|event| {
        let membership = membership_of(Some(&event.pdu));
        match (&request.membership, &request.not_membership) {
            // "The two parameters create an 'or' condition".
            (Some(wanted), Some(unwanted)) => *wanted == membership || *unwanted != membership,
            (Some(wanted), None) => *wanted == membership,
            (None, Some(unwanted)) => *unwanted != membership,
            (None, None) => true,
        }
    });
    let mut out = JsonWriter::with_capacity(512 * events.len() + 16);
    room.write_state(out.open().key("chunk"), &events).await?;
    out.close();
    Ok(answer(out))
}
