//! Why another server gave no answer that we can use.

use http::StatusCode;
use ruma::RoomVersionId;

use super::ResolveError;

/// Longest errcode of a peer that is kept, in bytes.
const ERRCODE_BYTES_MAX: usize = 64;
/// Longest sentence of a peer that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// What another server says for people, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Said(String);

impl Said {
    /// The sentence.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Said")
    }
}

/// A request to another server that failed. Its texts name no server, address or person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The configuration does not allow that server, or none at all.
    #[error("federation with this server is not allowed")]
    NotAllowed,
    /// The name leads nowhere.
    #[error("the server name does not resolve: {0}")]
    Resolve(#[from] ResolveError),
    /// No connection, or one that TLS refused.
    #[error("no connection could be made")]
    Connect,
    /// The connection broke while the request was under way: it may have arrived.
    #[error("the connection broke")]
    Broken,
    /// No whole answer in time: the request may have arrived.
    #[error("no answer in time")]
    Timeout,
    /// The answer is one of success, and larger than allowed.
    #[error("the answer is too large")]
    TooLarge,
    /// The server answered with a status other than success.
    #[error("the server answered {status}")]
    Status {
        /// The status.
        status: StatusCode,
        /// The errcode, if the body has one of a sensible length.
        errcode: Option<String>,
        /// What it says for people, if that has a sensible length; it may name anybody, and is not for logs.
        message: Option<Said>,
        /// How long the server asks us to wait, in milliseconds.
        retry_after_ms: Option<u64>,
        /// The version of the room that it is about, if it says so.
        room_version: Option<RoomVersionId>,
    },
    /// The answer has another shape than the specification says.
    #[error("the answer is malformed")]
    Malformed,
    /// The request could not be built or signed.
    #[error("the request cannot be made")]
    Request,
}

impl RemoteError {
    /// Whether the server has answered for good, so that to ask again would bring the same.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                status.is_client_error() && *status != StatusCode::TOO_MANY_REQUESTS
            }
            Self::TooLarge | Self::Malformed => true,
            Self::NotAllowed
            | Self::Resolve(_)
            | Self::Connect
            | Self::Broken
            | Self::Timeout
            | Self::Request => false,
        }
    }

    /// Reads a status other than success, with what its body says.
    pub(super) fn from_response(status: StatusCode, body: &[u8]) -> Self {
        #[derive(Default, serde::Deserialize)]
        struct Standard {
            errcode: Option<String>,
            error: Option<serde_json::Value>,
            retry_after_ms: Option<u64>,
            room_version: Option<RoomVersionId>,
        }
        let standard = serde_json::from_slice::<Standard>(body).unwrap_or_default();
        let errcode = standard.errcode;
        let message = standard.error.as_ref().and_then(|error| error.as_str());
        let message = message.filter(|text| text.len() <= MESSAGE_BYTES_MAX);
        Self::Status {
            status,
            errcode: errcode.filter(|code| code.len() <= ERRCODE_BYTES_MAX),
            message: message.map(|text| Said(text.to_owned())),
            retry_after_ms: standard.retry_after_ms,
            room_version: standard.room_version,
        }
    }

    /// The status, if there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The errcode of the answer, if it had one.
    #[must_use]
    pub fn errcode(&self) -> Option<&str> {
        match self {
            Self::Status { errcode, .. } => errcode.as_deref(),
            _ => None,
        }
    }

    /// Whether the server was not reached, or is failing as a whole, so that asking again at once is of no use.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Resolve(_) | Self::Connect | Self::Broken | Self::Timeout => true,
            Self::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}
