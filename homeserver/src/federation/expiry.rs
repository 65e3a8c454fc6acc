//! `GET /_matrix/federation/unstable/org.passeur/expiry`: which versions of expiry this server supports, and how long after
//! a deadline content may still be on its disk. A claim, not a proof.

use axum::{extract::State, response::Response};
use serde_json::json;

use crate::{
    app::App,
    http::{decode::raw_json, error::ApiError, origin::SignedBytes},
    outbound::EXPIRY_VERSIONS,
};

/// Answers servers that sign.
///
/// # Errors
/// None.
pub(crate) async fn get_expiry_support(
    State(app): State<App>,
    _: SignedBytes,
) -> Result<Response, ApiError> {
    // One purge may just have ended, and one may fail.
    let lag_ms = app.config.expiry.purge_interval_ms.saturating_mul(2);
    let body = json!({ "versions": EXPIRY_VERSIONS, "purge_lag_ms": lag_ms });
    Ok(raw_json(body.to_string()))
}
