//! `GET /_matrix/client/v3/thirdparty/user/{protocol}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyuserprotocol>

use ruma::api::client::thirdparty::get_user_for_protocol::v3;

use crate::http::{
    decode::{ApiResult, Ruma},
    error::ApiError,
    requester::Requester,
};

/// There is no such network.
pub(crate) async fn get_user_for_protocol_route(
    _: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Err(ApiError::not_found("There is no such network"))
}
