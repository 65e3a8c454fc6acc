//! `POST /_matrix/client/v3/account/3pid/bind`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3pidbind>

use ruma::api::client::account::bind_3pid::v3;

use super::third_party::denied;
use crate::http::{
    decode::{ApiResult, Ruma},
    requester::Requester,
};

/// No identity server is asked.
pub(crate) async fn bind_3pid_route(
    _: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Err(denied())
}
