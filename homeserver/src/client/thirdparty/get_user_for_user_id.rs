//! `GET /_matrix/client/v3/thirdparty/user`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyuser>

use ruma::api::client::thirdparty::get_user_for_user_id::v3;

use crate::http::{
    decode::{ApiResult, Ruma},
    error::ApiError,
    requester::Requester,
};

/// Nobody stands for a user of another network.
pub(crate) async fn get_user_for_user_id_route(
    _: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Err(ApiError::not_found(
        "Nobody stands for a user of another network",
    ))
}
