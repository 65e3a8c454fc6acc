//! `GET /_matrix/client/v3/account/whoami`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3accountwhoami>

use ruma::api::client::account::whoami::v3;

use crate::http::{
    decode::{ApiResult, Ruma, RumaResponse},
    requester::Requester,
};

/// Says whose token it is.
pub(crate) async fn whoami_route(
    requester: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let mut response = v3::Response::new(requester.user_id, false);
    response.device_id = Some(requester.device_id);
    Ok(RumaResponse(response))
}
