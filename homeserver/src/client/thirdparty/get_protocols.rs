//! `GET /_matrix/client/v3/thirdparty/protocols`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyprotocols>

use std::collections::BTreeMap;

use ruma::api::client::thirdparty::get_protocols::v3;

use crate::http::{
    decode::{ApiResult, Ruma, RumaResponse},
    requester::Requester,
};

/// Lists the other networks that can be reached from here: none.
pub(crate) async fn get_protocols_route(
    _: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    Ok(RumaResponse(v3::Response::new(BTreeMap::new())))
}
