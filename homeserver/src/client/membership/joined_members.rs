//! `GET /_matrix/client/v3/rooms/{roomId}/joined_members`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members>

use axum::{extract::State, response::Response};
use ruma::api::client::membership::joined_members::v3;
use serde::Deserialize;

use crate::{
    app::App,
    client::reading::{ReadableRoom, answer},
    http::{decode::Ruma, error::ApiError, requester::Requester},
    rooms::json::JsonWriter,
};

/// The names that a member event gives, whatever else it holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    displayname: Option<String>,
    avatar_url: Option<String>,
}

/// Who is joined to a room, for those who are.
pub(crate) async fn joined_members_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let room = ReadableRoom::joined(&app, &requester, &request.room_id).await?;
    let ids: Vec<_> = room
        .snapshot
        .members
        .joined()
        .map(|(_, member)| member.event_id.clone())
        .collect();
    let mut out = JsonWriter::with_capacity(128 * ids.len() + 16);
    out.open().key("joined").open();
    for event in app.store.events(&ids).await? {
        let Some(user) = &event.pdu.state_key else {
            continue;
        };
        let names: Names = serde_json::from_str(event.pdu.content.get()).unwrap_or_default();
        out.key(user).open();
        if let Some(name) = &names.displayname {
            out.key("display_name").string(name);
        }
        if let Some(avatar) = &names.avatar_url {
            out.key("avatar_url").string(avatar);
        }
        out.close();
    }
    out.close().close();
    Ok(answer(out))
}
