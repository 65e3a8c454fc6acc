//! `GET /_matrix/client/v3/thirdparty/location/{protocol}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartylocationprotocol>

use ruma::api::client::thirdparty::get_location_for_protocol::v3;

use crate::http::{
    decode::{ApiResult, Ruma},
    error::ApiError,
    requester::Requester,
};

/// There is no such network.
pub(crate) async fn get_location_for_protocol_route(
    _: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Err(ApiError::not_found("There is no such network"))
}
