//! What becomes of e-mail addresses and telephone numbers: nothing, since the server keeps none and asks no identity server.
//!
//! Invariant: every endpoint about them answers as the specification lets it answer that.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#adding-account-administrative-contact-information>

use http::StatusCode;
use ruma::api::error::ErrorKind;

use crate::http::error::ApiError;

/// 403 `M_THREEPID_DENIED`: such an identifier is not taken.
pub(super) fn denied() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        ErrorKind::ThreepidDenied,
        "This server keeps no e-mail addresses and no telephone numbers",
    )
}

/// 400 `M_THREEPID_NOT_FOUND`: no account has such an identifier.
pub(super) fn not_known() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        ErrorKind::ThreepidNotFound,
        "No account has this identifier",
    )
}
