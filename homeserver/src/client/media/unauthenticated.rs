//! `GET /_matrix/media/v3/download/…` and `…/thumbnail/…`: the deprecated way, without a token.
//!
//! Invariant: nothing is served that way. The server has never kept media from before it was
//! frozen, and newer media are not to be served there.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#content-repo-client-behaviour>

use crate::{http::error::ApiError, media::FetchError};

/// Answers as for media that are not there.
pub(crate) async fn unauthenticated_route() -> ApiError {
    FetchError::NotFound.into()
}
