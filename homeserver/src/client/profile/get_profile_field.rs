//! `GET /_matrix/client/v3/profile/{userId}/{keyName}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuseridkeyname>

use axum::{extract::State, response::Response};
use ruma::api::client::profile::get_profile_field::v3;
use serde_json::{Map, Value};

use super::{may_look, no_profile, profile_of};
use crate::{
    app::App,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
};

/// Shows a field of a profile.
pub(crate) async fn get_profile_field_route(
    State(app): State<App>,
    requester: Option<Requester>,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    may_look(&app, requester.as_ref())?;
    let mut profile = profile_of(&app, &request.user_id, Some(&request.field)).await?;
    let field = request.field.as_str();
    let value = profile.remove(field).ok_or_else(no_profile)?;
    let body = Map::from_iter([(field.to_owned(), value)]);
    Ok(raw_json(Value::Object(body).to_string()))
}
