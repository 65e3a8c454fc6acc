//! `GET /.well-known/matrix/server`
//!
//! Invariant: it says what the operator configured and nothing else; a server that is found at its own name needs none.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver>

use axum::extract::State;
use ruma::api::federation::discovery::discover_homeserver::{Request, Response};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
    },
};

/// Says where other servers find federation, if the operator has said so.
pub(crate) async fn discover_homeserver(
    State(app): State<App>,
    Ruma(_): Ruma<Request>,
) -> ApiResult<Response> {
    let server = app.config.well_known.server.clone();
    let server =
        server.ok_or_else(|| ApiError::not_found("No address for servers is configured"))?;
    Ok(RumaResponse(Response::new(server)))
}
