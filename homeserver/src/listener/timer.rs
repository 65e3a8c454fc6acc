//! Our clock as hyper's timer, so that its timeouts are the tests' to end.
//!
//! Invariant: hyper's instants are offsets from one origin that means nothing; only the clock says what time it is.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::clock::{self, Clock};

/// See the file's header.
#[derive(Debug, Clone)]
pub(super) struct ClockTimer {
    /// What tells the time.
    clock: Arc<dyn Clock>,
    /// The instant that stands for monotonic time zero.
    origin: Instant,
}

impl ClockTimer {
    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary origin: instants cannot be made otherwise"
    )]
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            origin: Instant::now(),
        }
    }
}

impl hyper::rt::Timer for ClockTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(self.clock.sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(
            self.clock
                .sleep_until(deadline.saturating_duration_since(self.origin)),
        ))
    }

    fn now(&self) -> Instant {
        self.origin + self.clock.monotonic()
    }
}

/// A wait as hyper wants it.
struct Sleep(clock::Sleep);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl hyper::rt::Sleep for Sleep {}
