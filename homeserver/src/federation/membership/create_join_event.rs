//! `PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid>

use axum::extract::State;
use ruma::api::federation::membership::create_join_event::v2;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
    store::Membership,
};

/// Takes a join in and answers with the state of the room before it, without its members if the peer does without them.
pub(crate) async fn create_join_event(
    State(app): State<App>,
    Signed { origin, request }: Signed<v2::Request>,
) -> ApiResult<v2::Response> {
    let hosted = app
        .rooms
        .host(
            &origin,
            &request.room_id,
            &request.event_id,
            &request.pdu,
            Membership::Join,
        )
        .await?;
    let told = app.rooms.told_state(&hosted, request.omit_members).await?;
    let mut state = v2::RoomState::new();
    state.state = app.rooms.pdus(&told.state).await?;
    state.auth_chain = app.rooms.pdus(&told.auth_chain).await?;
    if request.omit_members {
        state.members_omitted = true;
        let servers = hosted.servers.iter();
        state.servers_in_room = Some(servers.map(ToString::to_string).collect());
    }
    state.event = Some(hosted.event);
    Ok(RumaResponse(v2::Response::new(state)))
}
