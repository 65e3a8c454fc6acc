//! `GET /_matrix/client/v3/keys/changes`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3keyschanges>

use axum::extract::State;
use ruma::api::client::keys::get_key_changes::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Lists users whose keys changed, or who came or went, between two syncs.
pub(crate) async fn get_key_changes_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let (from, to) = (request.from.parse()?, request.to.parse()?);
    let changes = app.sync.key_changes(&requester.user_id, from, to).await?;
    let (changed, left) = (changes.changed, changes.left);
    Ok(RumaResponse(v3::Response::new(
        changed.into_iter().collect(),
        left.into_iter().collect(),
    )))
}
