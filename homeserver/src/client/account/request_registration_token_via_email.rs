//! `POST /_matrix/client/v3/register/email/requestToken`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3registeremailrequesttoken>

use ruma::api::client::account::request_registration_token_via_email::v3;

use super::third_party::denied;
use crate::http::decode::{ApiResult, Ruma};

/// An e-mail address is not taken, since the server sends none.
pub(crate) async fn request_registration_token_via_email_route(
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Err(denied())
}
