//! A request's body that must keep coming.
//!
//! Invariant: we wait at most [`GRACE`] for a body, and a second more for each [`BYTES_PER_SECOND_MIN`] that came. Only our waiting
//! counts, not the time that a handler takes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::clock::{Clock, Sleep};

/// How long we wait for a body, however little comes.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// What a body must bring for each further second: less than the worst line or onion circuit that is still of use.
const BYTES_PER_SECOND_MIN: u64 = 1024;

/// The body did not keep coming.
#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly")]
struct TooSlow;

/// See the file's header.
pub(super) struct PacedBody {
    /// What comes from the connection.
    inner: Incoming,
    /// What tells the time.
    clock: Arc<dyn Clock>,
    /// Bytes so far.
    received: u64,
    /// Time spent waiting so far, without the present wait.
    waited: Duration,
    /// The present wait: since when, and when it is over.
    wait: Option<(Duration, Sleep)>,
}

impl PacedBody {
    pub(super) fn new(inner: Incoming, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            clock,
            received: 0,
            waited: Duration::ZERO,
            wait: None,
        }
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            if let Some((since, _)) = this.wait.take() {
                this.waited += this.clock.monotonic().saturating_sub(since);
            }
            if let Some(Ok(data)) = frame
                .as_ref()
                .map(|frame| frame.as_ref().map(Frame::data_ref))
            {
                this.received += data.map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let (clock, budget) = (
            &this.clock,
            GRACE + Duration::from_secs(this.received / BYTES_PER_SECOND_MIN),
        );
        let left = budget.saturating_sub(this.waited);
        let (_, over) = this.wait.get_or_insert_with(|| {
            let now = clock.monotonic();
            (now, clock.sleep_until(now + left))
        });
        over.as_mut().poll(cx).map(|()| Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
