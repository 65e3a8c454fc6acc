//! `GET /.well-known/matrix/client`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient>

use axum::extract::State;
use ruma::api::client::discovery::discover_homeserver::{HomeserverInfo, Request, Response};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
    },
};

/// Says where clients find the server, if the operator has said so.
pub(crate) async fn discover_homeserver_route(
    State(app): State<App>,
    Ruma(_): Ruma<Request>,
) -> ApiResult<Response> {
    let url = app
        .config
        .well_known
        .client_base_url
        .clone()
        .ok_or_else(|| ApiError::not_found("No address for clients is configured"))?;
    Ok(RumaResponse(Response::new(HomeserverInfo::new(url))))
}
