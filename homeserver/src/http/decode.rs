//! Bytes to ruma requests, ruma responses to bytes.
//!
//! Invariant: a body is read whole and at most [`BODY_BYTES_MAX`] long (media has its own way in), and JSON is accepted only
//! if it is UTF-8, an object, has no duplicate keys and is not nested too deeply, also where it is kept as it came: it is
//! served again inside other JSON, which a reader with narrower limits could then not read at all.

use axum::{
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use passeur_protocol::json::check_client_json;
use ruma::api::{
    IncomingRequest, IncomingRequestExt, OutgoingResponse, OutgoingResponseExt,
    error::{DeserializationError, FromHttpRequestError},
};

use super::error::ApiError;

/// The longest body of a request, in bytes: a federation transaction of 50 PDUs of 64 KiB and 100
/// EDUs of the same size fits.
pub const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

/// A request of the Matrix API, decoded: the extractor of every handler, and its last argument.
#[derive(Clone, Debug)]
pub struct Ruma<T>(pub T);

/// A response of the Matrix API, on its way to bytes.
#[derive(Clone, Debug)]
pub struct RumaResponse<T>(pub T);

/// What handlers return.
pub type ApiResult<T> = Result<RumaResponse<T>, ApiError>;

impl<S, T> FromRequest<S> for Ruma<T>
where
    S: Send + Sync,
    T: IncomingRequest,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let arguments = path_arguments(&mut parts, state).await?;
        let body = if T::METHOD == http::Method::GET {
            read_body(body, BODY_BYTES_MAX).await?
        } else {
            read_json(body, BODY_BYTES_MAX).await?
        };
        decode(parts, body, &arguments).map(Self)
    }
}

/// The percent-decoded variables of the path, in its order.
///
/// # Errors
/// `M_INVALID_PARAM` if one of them is not UTF-8.
pub async fn path_arguments<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<Vec<String>, ApiError> {
    let parameters = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::invalid_param("The path is not valid UTF-8"))?;
    Ok(parameters
        .iter()
        .map(|(_, value)| value.to_owned())
        .collect())
}

/// Reads a body of at most `bytes_max`.
///
/// # Errors
/// `M_TOO_LARGE` if it is longer; `M_NOT_JSON` if the connection breaks.
pub async fn read_body(body: axum::body::Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large()),
        Err(_) => Err(ApiError::not_json("The body did not arrive whole")),
    }
}

/// Reads a body of at most `bytes_max` that is to be JSON, or nothing, strictly: what it returns may be kept as it is.
///
/// # Errors
/// `M_NOT_JSON`, `M_BAD_JSON`, `M_TOO_LARGE`.
pub async fn read_json(body: axum::body::Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    let body = read_body(body, bytes_max).await?;
    if !body.is_empty() {
        check_client_json(&body, bytes_max).map_err(ApiError::from_json)?;
    }
    Ok(body)
}

/// Makes a value of a body that was read strictly and that no type of ruma's stands for.
///
/// # Errors
/// `M_NOT_JSON` for no body, `M_BAD_JSON` for one of another shape.
pub fn parse_json<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    if body.is_empty() {
        return Err(ApiError::not_json("The body is not JSON"));
    }
    serde_json::from_slice(body).map_err(|_| ApiError::bad_shape())
}

/// Turns the parts of a request into a typed one. The body was read strictly.
///
/// # Errors
/// `M_NOT_JSON` for no body where there must be one, `M_BAD_JSON` for a body of another shape,
/// `M_INVALID_PARAM` for wrong values in path or query.
pub fn decode<T: IncomingRequest>(
    parts: Parts,
    body: Bytes,
    arguments: &[String],
) -> Result<T, ApiError> {
    let is_empty = body.is_empty() && T::METHOD != http::Method::GET;
    // Nothing is no JSON, and what is put is whatever the body says.
    if is_empty && T::METHOD == http::Method::PUT {
        return Err(ApiError::not_json("The body is not JSON"));
    }
    // A POST without a body means an empty object, as old clients do, where that means something.
    let body = if is_empty {
        Bytes::from_static(b"{}")
    } else {
        body
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let request = http::Request::from_parts(parts, body.as_ref());
    T::try_from_http_request(request, &arguments).map_err(|error| match &error {
        FromHttpRequestError::Deserialization(DeserializationError::Json(_)) if is_empty => {
            ApiError::not_json("The body is not JSON")
        }
        error => ApiError::from_decoding(error),
    })
}

impl<T: OutgoingResponse> IntoResponse for RumaResponse<T> {
    fn into_response(self) -> Response {
        match self.0.try_into_http_response::<Vec<u8>>() {
            Ok(response) => response.map(axum::body::Body::from),
            Err(error) => {
                tracing::error!(error = %error, "a response could not be encoded");
                ApiError::internal().into_response()
            }
        }
    }
}

/// An answer of no type in ruma, or of one that writes it otherwise than it is to be.
///
/// # Errors
/// 500 if it has no JSON.
pub fn serialized(answer: &impl serde::Serialize) -> Result<Response, ApiError> {
    let bytes = serde_json::to_vec(answer).map_err(|error| {
        tracing::error!(%error, "a response could not be encoded");
        ApiError::internal()
    })?;
    Ok(raw_json(bytes))
}

/// An answer whose JSON was made by hand, for paths where a round trip through types costs too
/// much: the bytes must be one JSON object.
pub fn raw_json(body: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
