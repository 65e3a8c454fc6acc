//! `PUT /_matrix/federation/v2/invite/{roomId}/{eventId}`, and `v1` of it.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2inviteroomideventid>

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use ruma::{
    OwnedRoomId, RoomVersionId,
    api::federation::membership::{
        RawStrippedState,
        create_invite::{v1, v2},
    },
};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse, parse_json},
        error::ApiError,
        origin::SignedBytes,
    },
    rooms::{HostError, IncomingInvite, into_json},
};

/// The body. It need not show anything of the room, which is what ruma's type has it do.
#[derive(Deserialize)]
struct Invitation {
    room_version: RoomVersionId,
    event: Box<RawValue>,
    #[serde(default)]
    invite_room_state: Vec<RawStrippedState>,
}

/// Takes an invite of one of ours, and answers with it signed by us as well.
pub(crate) async fn create_invite(
    State(app): State<App>,
    Path((room_id, event_id)): Path<(String, String)>,
    SignedBytes { origin, body }: SignedBytes,
) -> ApiResult<v2::Response> {
    let invalid = |_| ApiError::invalid_param("The path names no room or no event");
    let room_id = OwnedRoomId::try_from(room_id).map_err(invalid)?;
    app.rooms.expect_welcome(&origin, &room_id).await?;
    let request: Invitation = parse_json(&body)?;
    let invite = IncomingInvite {
        room_id,
        event_id: event_id.try_into().map_err(invalid)?,
        version: request.room_version,
        event: request.event,
        stripped: request
            .invite_room_state
            .into_iter()
            .filter_map(into_json)
            .collect(),
    };
    let signed = app.rooms.accept_invite(&origin, &invite).await?;
    app.rooms.keep_invite(&signed, &invite.stripped).await?;
    let event = with_unsigned(signed.json(), &invite.event).map_err(|_| ApiError::internal())?;
    Ok(RumaResponse(v2::Response::new(event)))
}

/// "The event with the invited server's signature added. All other fields of the events should remain untouched": what
/// nobody signs, and is therefore not kept, is in the answer as well.
fn with_unsigned(signed: &[u8], came: &RawValue) -> serde_json::Result<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Came<'a> {
        #[serde(borrow)]
        unsigned: Option<&'a RawValue>,
    }
    let mut event: BTreeMap<String, &RawValue> = serde_json::from_slice(signed)?;
    let came: Came<'_> = serde_json::from_str(came.get())?;
    event.extend(
        came.unsigned
            .map(|unsigned| ("unsigned".to_owned(), unsigned)),
    );
    to_raw_value(&event)
}

/// The same before invites named the room's version: those are of rooms of version 1 or 2, which
/// this server does not know.
pub(crate) async fn create_invite_v1(
    State(app): State<App>,
    Path((room_id, _)): Path<(String, String)>,
    SignedBytes { origin, .. }: SignedBytes,
) -> ApiResult<v1::Response> {
    if let Ok(room_id) = OwnedRoomId::try_from(room_id) {
        app.rooms.expect_welcome(&origin, &room_id).await?;
    }
    Err(HostError::Incompatible(RoomVersionId::V1).into())
}
