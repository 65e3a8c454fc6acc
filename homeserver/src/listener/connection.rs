//! One connection: HTTP/1.1 from the first byte to the last.
//!
//! Invariant: whoever sends nothing, sends slowly or reads nothing is closed; what an idle connection holds is a small buffer.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{body::PacedBody, io_guard::IoGuard, slots::Slot, timer::ClockTimer};
use crate::{clock::Clock, drain::Drain, http::peer::Peer};

/// Longest time from the end of an answer, or from the connection, to the end of the next request's headers.
pub(super) const HEADER_LIMIT: Duration = Duration::from_secs(30);

/// Longest request line and headers, in bytes: room for a filter in the query of `/sync`.
pub(super) const HEADER_BYTES_MAX: usize = 32 * 1024;

/// Most that is buffered of what a connection brings before it is parsed, in bytes.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

// What is parsed as headers must fit what is buffered.
const _: () = assert!(HEADER_BYTES_MAX <= BUFFER_BYTES_MAX);

/// What all connections of a listener share.
#[derive(Clone)]
pub(super) struct Connection {
    /// What answers.
    pub(super) router: Router,
    /// Proxies that are believed.
    pub(super) proxies: Arc<[IpNet]>,
    /// What tells the time.
    pub(super) clock: Arc<dyn Clock>,
    /// The same for hyper.
    pub(super) timer: ClockTimer,
    /// The end of the process.
    pub(super) drain: Drain,
    /// Cancelled when the end waits no longer.
    pub(super) cut: CancellationToken,
}

impl Connection {
    /// Serves until either side closes. Errors are the other side's business: there is nobody to tell.
    pub(super) fn serve<T>(
        self,
        stream: T,
        from: IpAddr,
        tls: bool,
        slot: Slot,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (drain, cut, timer) = (self.drain.clone(), self.cut.clone(), self.timer.clone());
        let io = TokioIo::new(IoGuard::new(stream, Arc::clone(&self.clock), slot));
        let service = service_fn(move |request| self.answer(request, from, tls));
        let served = http1::Builder::new()
            .timer(timer)
            .header_read_timeout(HEADER_LIMIT)
            .max_header_size(HEADER_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(io, service)
            .with_upgrades();
        // Boxed before anything waits for it: what an async block takes in and then pins, it has room for twice.
        let mut served = Box::pin(served);
        async move {
            tokio::select! {
                _ = served.as_mut() => return,
                () = drain.begun() => served.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                _ = served.as_mut() => {}
                () = cut.cancelled() => {}
            }
        }
    }

    /// Answers one request.
    fn answer(
        &self,
        request: Request<Incoming>,
        from: IpAddr,
        tls: bool,
    ) -> impl Future<Output = Result<Response, Infallible>> + Send + use<> {
        let peer = Peer::of_request(from, tls, &self.proxies, request.headers());
        let mut request = request.map(|body| {
            if hyper::body::Body::is_end_stream(&body) {
                Body::empty()
            } else {
                Body::new(PacedBody::new(body, Arc::clone(&self.clock)))
            }
        });
        request.extensions_mut().insert(peer);
        self.router.clone().oneshot(request)
    }
}
