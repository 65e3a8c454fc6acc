//! `GET /_matrix/client/v3/room_keys/keys`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeys>

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use ruma::api::client::backup::get_backup_keys::v3;

use super::{Sessions, read};
use crate::{
    app::App,
    http::{
        decode::{Ruma, serialized},
        error::ApiError,
        requester::Requester,
    },
};

/// Shows keys in a backup, as they were sent.
pub(crate) async fn get_backup_keys_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let which = Default::default();
    let entries = read(&app, &requester.user_id, &request.version, which).await?;
    let rooms = entries
        .into_iter()
        .map(|(room, sessions)| (room, Sessions { sessions }));
    serialized(&BTreeMap::from([(
        "rooms",
        rooms.collect::<BTreeMap<_, _>>(),
    )]))
}
