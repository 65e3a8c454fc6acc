//! What can go wrong between this client and its homeserver.
//!
//! Invariant: no variant's text carries an address, a token, or anything the server said beyond
//! its status and errcode, so that an error may be logged.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#standard-error-response>

use std::time::Duration;

use ruma::api::EndpointError;
use ruma::api::{
    client::uiaa::{UiaaInfo, UiaaResponse},
    error::{
        Error as MatrixError, ErrorBody, ErrorKind, FromHttpResponseError, LimitExceededErrorData,
        RetryAfter, StandardErrorBody,
    },
};

/// Why a connection could not even be prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpSetupError {
    /// The homeserver's URL is not one, or carries a query, a fragment or a user.
    #[error("the homeserver's URL is not valid")]
    Homeserver,
    /// Plain HTTP to a host that is not this machine.
    #[error("plain HTTP is only for loopback, or for an onion host through a SOCKS proxy")]
    PlainHttp,
    /// The proxy is not `socks5h://host:port`.
    #[error("the proxy must be socks5h://host:port")]
    Proxy,
    /// A root certificate cannot be used, or there is none at all.
    #[error("no usable root certificates")]
    RootCertificate,
    /// The TLS library refused its own defaults.
    #[error("TLS could not be set up")]
    Tls,
    /// The HTTP library refused the configuration.
    #[error("the HTTP client could not be set up")]
    Client,
}

/// Errcodes by which a homeserver judges the request itself. What else it may say is about the account, its load or its setup, and
/// may be otherwise tomorrow; a proxy between us says none of them.
const JUDGEMENTS: [&str; 13] = [
    "M_BAD_JSON",
    "M_BAD_STATE",
    "M_DUPLICATE_ANNOTATION",
    "M_EXCLUSIVE",
    "M_FORBIDDEN",
    "M_GUEST_ACCESS_FORBIDDEN",
    "M_INCOMPATIBLE_ROOM_VERSION",
    "M_INVALID_PARAM",
    "M_MISSING_PARAM",
    "M_NOT_FOUND",
    "M_NOT_JSON",
    "M_TOO_LARGE",
    "M_UNSUPPORTED_ROOM_VERSION",
];

/// Why a request has no good answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HttpError {
    /// The server was not reached, or the connection broke, or time ran out.
    #[error("the homeserver cannot be reached")]
    Unreachable,
    /// The answer is larger than allowed.
    #[error("the answer exceeds {bytes_max} bytes")]
    TooLarge {
        /// The bound it exceeds.
        bytes_max: usize,
    },
    /// The request could not be written down, e.g. because the server supports no version of it.
    #[error("the request cannot be made to this homeserver")]
    Request,
    /// The answer is not what the specification says.
    #[error("the homeserver's answer cannot be understood")]
    BadAnswer,
    /// The server wants a stage of interactive authentication first.
    #[error("the homeserver wants further authentication")]
    Interactive(Box<UiaaInfo>),
    /// The server refused.
    #[error("the homeserver answered {status} {errcode}")]
    Matrix {
        /// HTTP status.
        status: u16,
        /// The errcode, `M_UNKNOWN` where the answer had none.
        errcode: String,
        /// What the server says for people. May name users or rooms: do not log it.
        message: String,
        /// With `M_UNKNOWN_TOKEN`: the session lives on, only the token has expired.
        soft_logout: bool,
        /// How long the server asks to wait before the next try.
        retry_after: Option<Duration>,
    },
}

impl HttpError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable => true,
            Self::Matrix { status, .. } => *status == 408 || *status == 429 || *status >= 500,
            Self::TooLarge { .. } | Self::Request | Self::BadAnswer | Self::Interactive(_) => false,
        }
    }

    /// Whether a homeserver has judged the request itself, and would judge it alike the next time. An answer without one of the
    /// errcodes that say so is none: a proxy that is being changed answers 403 and 404 too.
    #[must_use]
    pub fn is_judgement(&self) -> bool {
        match self {
            Self::Matrix {
                status, errcode, ..
            } => {
                *status == 413
                    || ((400..500).contains(status) && JUDGEMENTS.contains(&errcode.as_str()))
            }
            _ => false,
        }
    }

    /// How long the server asks to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Matrix { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The server's errcode, where it gave one.
    #[must_use]
    pub fn errcode(&self) -> Option<&str> {
        match self {
            Self::Matrix { errcode, .. } => Some(errcode),
            _ => None,
        }
    }

    /// Whether the access token is no longer good; `Some(true)` when only the token has expired.
    #[must_use]
    pub fn unknown_token(&self) -> Option<bool> {
        match self {
            Self::Matrix {
                errcode,
                soft_logout,
                ..
            } if errcode == "M_UNKNOWN_TOKEN" => Some(*soft_logout),
            _ => None,
        }
    }

    pub(super) fn from_transport(error: &reqwest::Error) -> Self {
        if error.is_builder() {
            Self::Request
        } else {
            Self::Unreachable
        }
    }

    pub(super) fn from_ruma<E: Into<Self>>(
        error: FromHttpResponseError<E>,
        answer: &http::Response<Vec<u8>>,
    ) -> Self {
        match error {
            FromHttpResponseError::Server(error) => error.into().with_retry_header(answer),
            _ => Self::BadAnswer,
        }
    }

    /// Reads an error answer that no request type stands for.
    pub(super) fn from_answer(answer: &http::Response<Vec<u8>>) -> Self {
        Self::from(MatrixError::from_http_response(super::borrowed(answer)))
            .with_retry_header(answer)
    }

    /// `Retry-After` also counts on answers that are not `M_LIMIT_EXCEEDED`, e.g. a proxy's 503.
    fn with_retry_header(mut self, answer: &http::Response<Vec<u8>>) -> Self {
        let seconds = answer
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let Self::Matrix { retry_after, .. } = &mut self
            && let Some(seconds) = seconds
        {
            *retry_after = Some(Duration::from_secs(seconds));
        }
        self
    }
}

impl From<UiaaResponse> for HttpError {
    fn from(error: UiaaResponse) -> Self {
        match error {
            UiaaResponse::AuthResponse(info) => Self::Interactive(Box::new(info)),
            UiaaResponse::MatrixError(error) => error.into(),
        }
    }
}

impl From<MatrixError> for HttpError {
    fn from(error: MatrixError) -> Self {
        let status = error.status_code.as_u16();
        let ErrorBody::Standard(StandardErrorBody { kind, message, .. }) = error.body else {
            return Self::Matrix {
                status,
                errcode: "M_UNKNOWN".to_owned(),
                message: String::new(),
                soft_logout: false,
                retry_after: None,
            };
        };
        let soft_logout = matches!(&kind, ErrorKind::UnknownToken(data) if data.soft_logout);
        let retry_after = match &kind {
            ErrorKind::LimitExceeded(LimitExceededErrorData {
                retry_after: Some(RetryAfter::Delay(delay)),
                ..
            }) => Some(*delay),
            _ => None,
        };
        Self::Matrix {
            status,
            errcode: kind.errcode().to_string(),
            message,
            soft_logout,
            retry_after,
        }
    }
}
