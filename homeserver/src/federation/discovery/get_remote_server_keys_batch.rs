//! `POST /_matrix/key/v2/query`: other servers' keys, as this one knows them, signed by both.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#post_matrixkeyv2query>

use axum::extract::State;
use ruma::api::federation::discovery::get_remote_server_keys_batch::v2::{Request, Response};

use crate::{
    app::App,
    http::decode::{ApiResult, Ruma, RumaResponse},
};

/// Most servers of one request that are looked up.
const SERVERS_MAX: usize = 20;

/// Answers anyone. Servers of whom nothing is known are missing in the answer.
///
/// # Errors
/// 500 if the database fails.
pub async fn get_remote_server_keys_batch(
    State(app): State<App>,
    Ruma(request): Ruma<Request>,
) -> ApiResult<Response> {
    let mut documents = Vec::new();
    for (server, criteria) in request.server_keys.iter().take(SERVERS_MAX) {
        let min = criteria
            .values()
            .filter_map(|criterion| criterion.minimum_valid_until_ts)
            .max();
        documents.extend(app.server_keys.vouch(server, min).await?);
    }
    Ok(RumaResponse(Response::new(documents)))
}
