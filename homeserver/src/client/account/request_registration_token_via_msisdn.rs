//! `POST /_matrix/client/v3/register/msisdn/requestToken`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3registermsisdnrequesttoken>

use ruma::api::client::account::request_registration_token_via_msisdn::v3;

use super::third_party::denied;
use crate::http::decode::{ApiResult, Ruma};

/// A telephone number is not taken, since the server sends no messages to it.
pub(crate) async fn request_registration_token_via_msisdn_route(
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Err(denied())
}
