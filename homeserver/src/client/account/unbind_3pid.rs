//! `POST /_matrix/client/v3/account/3pid/unbind`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3pidunbind>

use ruma::api::client::account::{ThirdPartyIdRemovalStatus, unbind_3pid::v3};

use crate::http::{
    decode::{ApiResult, Ruma, RumaResponse},
    requester::Requester,
};

/// What was never bound is unbound already; no identity server is asked.
pub(crate) async fn unbind_3pid_route(
    _: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let status = ThirdPartyIdRemovalStatus::NoSupport;
    Ok(RumaResponse(v3::Response::new(status)))
}
