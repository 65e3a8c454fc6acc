//! `PUT /_matrix/client/v3/profile/{userId}/{keyName}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3profileuseridkeyname>

use std::collections::BTreeMap;

use axum::extract::State;
use ruma::api::client::profile::set_profile_field::v3;
use serde::de::IgnoredAny;

use super::set;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, BODY_BYTES_MAX, RumaResponse, decode, path_arguments, read_json},
        error::ApiError,
        requester::Active,
    },
};

/// Sets a field of the requester's profile.
pub(crate) async fn set_profile_field_route(
    State(app): State<App>,
    Active(requester): Active,
    request: axum::extract::Request,
) -> ApiResult<v3::Response> {
    let (mut parts, body) = request.into_parts();
    let arguments = path_arguments(&mut parts, &()).await?;
    let body = read_json(body, BODY_BYTES_MAX).await?;
    let object: Option<BTreeMap<String, IgnoredAny>> = serde_json::from_slice(&body).ok();
    if let (Some(object), Some(field)) = (object, arguments.get(1))
        && !object.contains_key(field)
    {
        return Err(ApiError::missing_param("The body lacks the field"));
    }
    let request: v3::Request = decode(parts, body, &arguments)?;
    requester.must_be(&request.user_id)?;
    let field = request.value.field_name().as_str().to_owned();
    let value = request.value.value().into_owned();
    set(&app, &requester, field, Some(value)).await?;
    Ok(RumaResponse(v3::Response::new()))
}
