//! The seam between requests to other servers and the network.
//!
//! Invariant: whatever implements [`Transport`] bounds the answer by [`Bounds`] and follows no redirect. The real one is
//! [`super::https::HttpsTransport`]; tests join servers in one process by implementing it themselves.

use std::{fmt::Debug, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use ruma::ServerName;

use super::RemoteError;

/// A future behind a trait object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Largest answer that is read where nothing else is said, in bytes: the state of a large room.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Largest answer to a question about keys, devices, profiles or versions, in bytes.
pub const SMALL_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest wait for an answer that a client waits for as well.
pub const INTERACTIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What an answer may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Largest body, in bytes.
    pub bytes_max: usize,
    /// Longest wait from the first look-up to the last byte.
    pub timeout: Duration,
}

impl Bounds {
    /// For questions of a client that waits: small and quick.
    pub const INTERACTIVE: Self = Self {
        bytes_max: SMALL_ANSWER_BYTES_MAX,
        timeout: INTERACTIVE_TIMEOUT,
    };

    /// For the state of a room or its events, within `timeout`.
    #[must_use]
    pub const fn large(timeout: Duration) -> Self {
        Self {
            bytes_max: ANSWER_BYTES_MAX,
            timeout,
        }
    }
}

/// The way to another server.
pub trait Transport: Debug + Send + Sync + 'static {
    /// Sends one request and reads the whole answer.
    ///
    /// The URI of `request` is a path with its query, exactly as it was signed; the transport adds scheme, host and port.
    /// Any status is an answer; errors are those of the way there and back.
    fn request<'a>(
        &'a self,
        destination: &'a ServerName,
        request: http::Request<Bytes>,
        bounds: Bounds,
    ) -> Pending<'a, Result<http::Response<Bytes>, RemoteError>>;

    /// Sends one request to a host that is no server of Matrix, such as a push gateway, over HTTPS and at a checked address. The
    /// URI of `request` is a path with its query. Without a way there, nobody can be reached.
    fn web<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        request: http::Request<Bytes>,
        bounds: Bounds,
    ) -> Pending<'a, Result<http::Response<Bytes>, RemoteError>> {
        let _ = (host, port, request, bounds);
        Box::pin(async { Err(RemoteError::Connect) })
    }
}
