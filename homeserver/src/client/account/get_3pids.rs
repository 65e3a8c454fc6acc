//! `GET /_matrix/client/v3/account/3pid`
//!
//! Invariant: the list is empty, because the server keeps no e-mail address and no telephone number.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3account3pid>

use axum::response::Response;
use ruma::api::client::account::get_3pids::v3;

use crate::http::{
    decode::{Ruma, raw_json},
    error::ApiError,
    requester::Requester,
};

/// Lists no third-party identifiers. Written by hand, since the member must be there though empty.
pub(crate) async fn get_3pids_route(
    _: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    Ok(raw_json(r#"{"threepids":[]}"#))
}
