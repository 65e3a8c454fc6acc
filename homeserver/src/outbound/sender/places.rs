//! Who may send now: places for those who answer at once, and others for those who do not.
//!
//! Invariant: no more than [`PROMPT_MAX`] and [`LATE_MAX`] requests are under way. A place of the first kind is held for a moment: who
//! has not answered by then goes on in one of the second kind, or waits for one. So any number of servers that take
//! requests and never answer keeps the others waiting for a moment and no longer.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#transactions>

use std::{future::Future, time::Duration};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Handle;
use crate::{
    clock::{Clock, within},
    outbound::RemoteError,
};

/// Requests that are under way at the same time to servers from which an answer is expected.
pub(super) const PROMPT_MAX: usize = 96;

/// The same for servers that did not take the last transaction, or take long over this one.
pub(super) const LATE_MAX: usize = 32;

/// How long a server may take in a place of the first kind.
pub(super) const PROMPT: Duration = Duration::from_secs(2);

/// What is expected of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// It took the last transaction, or has shown life since.
    Prompt,
    /// It did not take the last transaction.
    Late,
}

/// The places.
#[derive(Debug)]
pub(super) struct Places {
    prompt: Semaphore,
    late: Semaphore,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            prompt: Semaphore::new(PROMPT_MAX),
            late: Semaphore::new(LATE_MAX),
        }
    }
}

/// A place, as long as this lives.
#[derive(Debug)]
pub(super) enum Place<'a> {
    /// For a moment.
    Prompt(SemaphorePermit<'a>, &'a Semaphore),
    /// For as long as a request may take.
    Late {
        /// Held, and not looked at.
        _permit: SemaphorePermit<'a>,
    },
}

impl Places {
    /// Waits for a place. A server of which nothing is expected gets one of the first kind if it shows life meanwhile.
    ///
    /// None only if places are no longer given.
    pub(super) async fn enter(&self, handle: &Handle, expected: Expected) -> Option<Place<'_>> {
        if expected == Expected::Late
            && let Some(_permit) = self.late_permit(handle).await
        {
            return Some(Place::Late { _permit });
        }
        let permit = self.prompt.acquire().await.ok()?;
        Some(Place::Prompt(permit, &self.late))
    }

    /// Waits for a place of the second kind, or for a sign of life.
    async fn late_permit(&self, handle: &Handle) -> Option<SemaphorePermit<'_>> {
        let mut permit = std::pin::pin!(self.late.acquire());
        loop {
            tokio::select! {
                biased;
                permit = &mut permit => return permit.ok(),
                () = handle.bell.notified() => {
                    if handle.is_alive() {
                        return None;
                    }
                }
            }
        }
    }
}

impl Place<'_> {
    /// Makes a request in this place. One that takes long and finds no place to take long in is dropped, as if it had timed out.
    pub(super) async fn make<T>(
        self,
        clock: &dyn Clock,
        request: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        let Self::Prompt(permit, late) = self else {
            return request.await;
        };
        let mut request = std::pin::pin!(request);
        if let Ok(answered) = within(clock, PROMPT, request.as_mut()).await {
            return answered;
        }
        drop(permit);
        let _permit = late.try_acquire().map_err(|_| RemoteError::Timeout)?;
        request.await
    }
}
