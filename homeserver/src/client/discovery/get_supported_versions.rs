//! `GET /_matrix/client/versions`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientversions>

use ruma::api::client::discovery::get_supported_versions::{Request, Response};

use crate::http::decode::{ApiResult, Ruma, RumaResponse};

/// The versions of the specification whose required parts are served.
const VERSIONS: [&str; 20] = [
    "r0.6.1", "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10",
    "v1.11", "v1.12", "v1.13", "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19",
];

/// What is served beyond the specification.
const UNSTABLE_FEATURES: [&str; 2] = ["org.matrix.msc3814", "org.passeur.ws"];

/// Lists what is served.
pub(crate) async fn get_supported_versions_route(Ruma(_): Ruma<Request>) -> ApiResult<Response> {
    let mut response = Response::new(VERSIONS.map(str::to_owned).to_vec());
    response.unstable_features = UNSTABLE_FEATURES
        .into_iter()
        .map(|feature| (feature.to_owned(), true))
        .collect();
    Ok(RumaResponse(response))
}
