//! `POST /_matrix/client/v3/account/password/email/requestToken`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpasswordemailrequesttoken>

use ruma::api::client::account::request_password_change_token_via_email::v3;

use super::third_party::not_known;
use crate::http::decode::{ApiResult, Ruma};

/// No account has an e-mail address.
pub(crate) async fn request_password_change_token_via_email_route(
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Err(not_known())
}
