//! `POST /_matrix/client/v3/account/password/msisdn/requestToken`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpasswordmsisdnrequesttoken>

use ruma::api::client::account::request_password_change_token_via_msisdn::v3;

use super::third_party::not_known;
use crate::http::decode::{ApiResult, Ruma};

/// No account has a telephone number.
pub(crate) async fn request_password_change_token_via_msisdn_route(
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Err(not_known())
}
