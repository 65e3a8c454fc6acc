//! A socket that is given up when its reader stalls, and that holds its slot until it closes.
//!
//! Invariant: while we have something to write, the other side takes some of it every [`WRITE_STALL_LIMIT`].

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::slots::Slot;
use crate::clock::{Clock, Sleep};

/// Longest time for which a write may make no progress.
pub(super) const WRITE_STALL_LIMIT: Duration = Duration::from_secs(60);

/// A socket of a connection; it goes along when the connection becomes a WebSocket.
pub(super) struct IoGuard<T> {
    /// The socket.
    inner: T,
    /// What tells the time.
    clock: Arc<dyn Clock>,
    /// Ends the write that is waiting, if one is.
    stall: Option<Sleep>,
    /// The place that the socket takes.
    _slot: Slot,
}

impl<T> IoGuard<T> {
    pub(super) fn new(inner: T, clock: Arc<dyn Clock>, slot: Slot) -> Self {
        Self {
            inner,
            clock,
            stall: None,
            _slot: slot,
        }
    }

    /// Lets a write through, or counts how long it has waited.
    fn guard<R>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let clock = &self.clock;
        let stall = self
            .stall
            .get_or_insert_with(|| clock.sleep(WRITE_STALL_LIMIT));
        stall
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for IoGuard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for IoGuard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.guard(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.guard(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.guard(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.guard(cx, shut)
    }
}
