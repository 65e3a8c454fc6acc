//! `PUT /_matrix/federation/v1/send_join/{roomId}/{eventId}` and `.../v1/send_leave/...`: what older servers call.
//!
//! Invariant: they do what the second versions do; the answer alone has another form, a status before what there is to say.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#server-access-control-lists-acls>, which has them protected.

use axum::{
    extract::{Path, State},
    response::Response,
};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName};
use serde_json::{json, value::RawValue};

use crate::{
    app::App,
    http::{
        decode::{parse_json, raw_json},
        error::ApiError,
        origin::SignedBytes,
    },
    rooms::Hosted,
    store::Membership,
};

/// Where a join is sent to.
pub(crate) const SEND_JOIN: &str = "/_matrix/federation/v1/send_join/{room_id}/{event_id}";
/// Where a leave is sent to.
pub(crate) const SEND_LEAVE: &str = "/_matrix/federation/v1/send_leave/{room_id}/{event_id}";

/// What such a request says.
struct Sent {
    origin: OwnedServerName,
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
    pdu: Box<RawValue>,
}

impl Sent {
    fn read(
        (room_id, event_id): (String, String),
        SignedBytes { origin, body }: SignedBytes,
    ) -> Result<Self, ApiError> {
        let invalid = |_| ApiError::invalid_param("The path names no room or no event");
        Ok(Self {
            origin,
            room_id: room_id.try_into().map_err(invalid)?,
            event_id: event_id.try_into().map_err(invalid)?,
            pdu: parse_json(&body)?,
        })
    }

    async fn host(&self, app: &App, membership: Membership) -> Result<Hosted, ApiError> {
        let (room, event) = (&self.room_id, &self.event_id);
        let hosted = app
            .rooms
            .host(&self.origin, room, event, &self.pdu, membership);
        Ok(hosted.await?)
    }
}

/// Takes a join in and answers with the state of the room before it.
pub(crate) async fn send_join(
    State(app): State<App>,
    Path(path): Path<(String, String)>,
    signed: SignedBytes,
) -> Result<Response, ApiError> {
    let sent = Sent::read(path, signed)?;
    let hosted = sent.host(&app, Membership::Join).await?;
    let told = app.rooms.told_state(&hosted, false).await?;
    let state = json!({
        "origin": app.config.server_name,
        "state": app.rooms.pdus(&told.state).await?,
        "auth_chain": app.rooms.pdus(&told.auth_chain).await?,
        "event": hosted.event,
    });
    Ok(raw_json(json!([200, state]).to_string()))
}

/// Takes a leave in.
pub(crate) async fn send_leave(
    State(app): State<App>,
    Path(path): Path<(String, String)>,
    signed: SignedBytes,
) -> Result<Response, ApiError> {
    let sent = Sent::read(path, signed)?;
    sent.host(&app, Membership::Leave).await?;
    Ok(raw_json(json!([200, {}]).to_string()))
}
