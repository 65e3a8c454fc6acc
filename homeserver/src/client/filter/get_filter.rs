//! `GET /_matrix/client/v3/user/{userId}/filter/{filterId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridfilterfilterid>

use axum::{extract::State, response::Response};
use ruma::api::client::filter::get_filter::v3;

use crate::{
    app::App,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
};

/// Shows a filter.
pub(crate) async fn get_filter_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    requester.must_be(&request.user_id)?;
    let definition = app
        .store
        .filter(&requester.user_id, &request.filter_id)
        .await?
        .ok_or_else(|| ApiError::not_found("There is no such filter"))?;
    Ok(raw_json(definition))
}
