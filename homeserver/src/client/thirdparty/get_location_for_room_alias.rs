//! `GET /_matrix/client/v3/thirdparty/location`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartylocation>

use ruma::api::client::thirdparty::get_location_for_room_alias::v3;

use crate::http::{
    decode::{ApiResult, Ruma},
    error::ApiError,
    requester::Requester,
};

/// No room stands for a place in another network.
pub(crate) async fn get_location_for_room_alias_route(
    _: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Err(ApiError::not_found(
        "No room stands for a place in another network",
    ))
}
