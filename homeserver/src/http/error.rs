//! Every error of the server to a status and an errcode.
//!
//! Invariant: what a client is told is decided here, in one exhaustive match an error type;
//! internals are logged once, here, and leave as a bare 500. Messages never repeat input.

mod accounts;
mod federation;
mod keys;
mod media;
mod rooms;
mod sync;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use passeur_protocol::json::JsonError;
use ruma::api::{
    client::uiaa::UiaaInfo,
    error::{DeserializationError, ErrorKind, FromHttpRequestError, UnknownTokenErrorData},
};
use serde_json::json;

use crate::store::StoreError;

/// What a request is answered with when it fails.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#standard-error-response>
#[derive(Debug)]
pub enum ApiError {
    /// A standard error.
    Standard {
        /// The HTTP status.
        status: StatusCode,
        /// The errcode, with what goes with it.
        kind: ErrorKind,
        /// A sentence for people; it never repeats what the client sent.
        message: String,
    },
    /// More stages of user-interactive authentication are needed: 401 with the flows.
    Uia(Box<UiaaInfo>),
}

impl ApiError {
    /// Any standard error.
    pub fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Standard {
            status,
            kind,
            message: message.into(),
        }
    }

    /// 403 `M_FORBIDDEN`.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::Forbidden, message)
    }

    /// 404 `M_NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, message)
    }

    /// 400 `M_INVALID_PARAM`.
    pub fn invalid_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidParam, message)
    }

    /// 400 `M_MISSING_PARAM`.
    pub fn missing_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::MissingParam, message)
    }

    /// 400 `M_BAD_JSON`.
    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::BadJson, message)
    }

    /// 400 `M_NOT_JSON`.
    pub fn not_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::NotJson, message)
    }

    /// 400 `M_BAD_JSON`, for JSON of another shape than the endpoint's.
    pub fn bad_shape() -> Self {
        Self::bad_json("The body lacks something, or holds a value of a wrong type")
    }

    /// What a body that was refused by its form is answered with.
    pub fn from_json(error: JsonError) -> Self {
        match error {
            JsonError::TooLarge { .. } => Self::too_large(),
            error if error.is_not_json() => Self::not_json("The body is not JSON"),
            JsonError::NotAnObject => Self::bad_json("The body is not a JSON object"),
            _ => Self::bad_json("The body has a key twice or is nested too deeply"),
        }
    }

    /// 413 `M_TOO_LARGE`.
    pub fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::TooLarge,
            "The request is too large",
        )
    }

    /// 404 `M_UNRECOGNIZED`: no such endpoint.
    pub fn unrecognized() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            ErrorKind::Unrecognized,
            "Unrecognized request",
        )
    }

    /// 405 `M_UNRECOGNIZED`: the endpoint exists, for another method.
    pub fn method_not_allowed() -> Self {
        let message = "This endpoint does not take this method";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorKind::Unrecognized,
            message,
        )
    }

    /// 401 `M_MISSING_TOKEN`.
    pub fn missing_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorKind::MissingToken,
            "Missing access token",
        )
    }

    /// 401 `M_UNKNOWN_TOKEN`. With `soft_logout` the client keeps its keys and logs in again;
    /// without, it discards them.
    pub fn unknown_token(soft_logout: bool) -> Self {
        let mut data = UnknownTokenErrorData::new();
        data.soft_logout = soft_logout;
        let kind = ErrorKind::UnknownToken(data);
        Self::new(
            StatusCode::UNAUTHORIZED,
            kind,
            "Unknown or expired access token",
        )
    }

    /// 500 `M_UNKNOWN`, for what was logged already.
    pub fn internal() -> Self {
        let message = "The server failed to do this";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::Unknown,
            message,
        )
    }

    /// What a request that could not be decoded is answered with.
    pub fn from_decoding(error: &FromHttpRequestError) -> Self {
        let FromHttpRequestError::Deserialization(error) = error else {
            return Self::method_not_allowed();
        };
        match error {
            // That it is JSON was seen before.
            DeserializationError::Json(_) => Self::bad_shape(),
            DeserializationError::Utf8(_) => Self::not_json("The request is not UTF-8"),
            // The library has no kind of its own for it.
            DeserializationError::Query(error) if error.to_string().contains("missing field") => {
                Self::missing_param("A parameter of the query is missing")
            }
            _ => Self::invalid_param("The path or the query holds an invalid value"),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the database failed a request");
        Self::internal()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::Standard {
                status,
                kind,
                message,
            } => (status, standard_body(&kind, message)),
            Self::Uia(info) => (
                StatusCode::UNAUTHORIZED,
                serde_json::to_value(&*info).unwrap_or_else(|_| json!({})),
            ),
        };
        let mut response = Response::new(axum::body::Body::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(ms) = body
            .get("retry_after_ms")
            .and_then(serde_json::Value::as_u64)
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        response
    }
}

/// The JSON of a standard error: the errcode and what goes with it, and the sentence.
fn standard_body(kind: &ErrorKind, message: String) -> serde_json::Value {
    let mut body = serde_json::to_value(kind).unwrap_or_else(|_| json!({"errcode": "M_UNKNOWN"}));
    if let Some(body) = body.as_object_mut() {
        body.insert("error".to_owned(), message.into());
    }
    body
}
