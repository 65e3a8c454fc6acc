//! `POST /_matrix/client/v3/account/3pid/email/requestToken`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3pidemailrequesttoken>

use ruma::api::client::account::request_3pid_management_token_via_email::v3;

use super::third_party::denied;
use crate::http::decode::{ApiResult, Ruma};

/// An e-mail address is not taken, since the server sends none.
pub(crate) async fn request_3pid_management_token_via_email_route(
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Err(denied())
}
