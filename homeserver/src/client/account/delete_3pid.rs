//! `POST /_matrix/client/v3/account/3pid/delete`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3account3piddelete>

use ruma::api::client::account::{ThirdPartyIdRemovalStatus, delete_3pid::v3};

use crate::http::{
    decode::{ApiResult, Ruma, RumaResponse},
    requester::Requester,
};

/// What was never added is gone already; no identity server is asked.
pub(crate) async fn delete_3pid_route(
    _: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let status = ThirdPartyIdRemovalStatus::NoSupport;
    Ok(RumaResponse(v3::Response::new(status)))
}
