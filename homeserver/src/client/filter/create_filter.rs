//! `POST /_matrix/client/v3/user/{userId}/filter`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter>

use axum::extract::State;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ruma::api::client::filter::create_filter::v3;
use sha2::{Digest, Sha256};

use crate::{
    app::App,
    client::config::{ITEM_BYTES_MAX, too_many},
    http::{
        decode::{ApiResult, BODY_BYTES_MAX, RumaResponse, decode, path_arguments, read_json},
        error::ApiError,
        requester::Requester,
    },
    store::CreateFilter,
};

/// Bytes of the hash that make the id.
const ID_BYTES: usize = 12;

/// Stores a filter, as it came: what is read again is what was posted.
pub(crate) async fn create_filter_route(
    State(app): State<App>,
    requester: Requester,
    request: axum::extract::Request,
) -> ApiResult<v3::Response> {
    let (mut parts, body) = request.into_parts();
    let arguments = path_arguments(&mut parts, &()).await?;
    let body = read_json(body, BODY_BYTES_MAX).await?;
    let definition = match str::from_utf8(&body) {
        Ok(text) if !text.is_empty() => text.to_owned(),
        _ => return Err(ApiError::not_json("The body is not JSON")),
    };
    let request: v3::Request = decode(parts, body, &arguments)?;
    requester.must_be(&request.user_id)?;
    if definition.len() > ITEM_BYTES_MAX {
        return Err(ApiError::too_large());
    }
    let hash = Sha256::digest(definition.as_bytes());
    let filter_id = URL_SAFE_NO_PAD.encode(&hash[..ID_BYTES]);
    let change = CreateFilter {
        user_id: requester.user_id,
        filter_id: filter_id.clone(),
        definition,
    };
    if app.store.commit(change).await?.output {
        Ok(RumaResponse(v3::Response::new(filter_id)))
    } else {
        Err(too_many())
    }
}
