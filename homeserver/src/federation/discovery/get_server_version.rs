//! `GET /_matrix/federation/v1/version`: name and version of the implementation.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1version>

use ruma::api::federation::discovery::get_server_version::v1::{Request, Response, Server};

use crate::http::decode::{ApiResult, Ruma, RumaResponse};

/// Answers anyone.
///
/// # Errors
/// None.
pub async fn get_server_version(Ruma(_): Ruma<Request>) -> ApiResult<Response> {
    let mut server = Server::new();
    server.name = Some("Passeur".to_owned());
    server.version = Some(env!("CARGO_PKG_VERSION").to_owned());
    let mut response = Response::new();
    response.server = Some(server);
    Ok(RumaResponse(response))
}
