//! `GET /_matrix/client/v3/pushers`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushers>

use axum::{extract::State, response::Response};
use ruma::api::client::push::get_pushers::v3;

use crate::{
    app::App,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
};

/// Lists the requester's pushers, as they were set.
pub(crate) async fn get_pushers_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let pushers = app.store.pushers(&requester.user_id).await?;
    Ok(raw_json(format!(
        r#"{{"pushers":[{}]}}"#,
        pushers.join(",")
    )))
}
