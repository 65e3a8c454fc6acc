//! `POST /_matrix/client/v3/account/3pid/add`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3pidadd>

use ruma::api::client::account::add_3pid::v3;

use super::third_party::denied;
use crate::http::{
    decode::{ApiResult, Ruma},
    requester::Requester,
};

/// An identifier that was never validated here is not added: there is no such session.
pub(crate) async fn add_3pid_route(
    _: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Err(denied())
}
