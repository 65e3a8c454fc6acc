//! Destroys keys whose messages have expired, when their time comes.
//!
//! Invariant: a sweep is done before anything is shown after a start, and again at each deadline. The store's files are scrubbed after
//! every sweep that destroyed something, and after the first, whatever it did: an earlier process may have ended before it could.
//! A scrub that fails is done again with the next sweep.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::{
    client::{Client, ClientError},
    crypto::{CryptoError, Staged},
};

/// The longest pause between two sweeps.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The shortest.
const PAUSE_MIN: Duration = Duration::from_millis(250);

impl Client {
    /// Destroys whatever has expired by now; gives the time of the next deadline, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] if the store cannot be written.
    pub async fn sweep(&self) -> Result<Option<u64>, ClientError> {
        let due = &self.inner.scrub_due;
        let swept = self.staged(|machine, now_ms| {
            let (changes, outcome) = machine.sweep(now_ms)?.into_parts();
            if outcome.sessions_advanced + outcome.sessions_deleted > 0 {
                due.store(true, Ordering::SeqCst);
            }
            Ok::<_, CryptoError>(Staged::new(changes, outcome))
        });
        let outcome = swept.await??;
        if due.swap(false, Ordering::SeqCst)
            && let Err(error) = self.inner.store.scrub().await
        {
            due.store(true, Ordering::SeqCst);
            tracing::warn!(%error, "traces of destroyed keys could not be removed yet");
        }
        Ok(outcome.next_ms)
    }
}

/// Sweeps for as long as the client is there.
pub(super) async fn run(client: Client) {
    let inner = Arc::downgrade(&client.inner);
    let clock = client.inner.clock.clone();
    drop(client);
    loop {
        let pause = {
            let Some(inner) = inner.upgrade() else { return };
            let client = Client { inner };
            match client.sweep().await {
                Ok(Some(next_ms)) => Duration::from_millis(next_ms.saturating_sub(client.now_ms())),
                Ok(None) => PAUSE_MAX,
                Err(error) => {
                    tracing::warn!(%error, "expired keys could not be destroyed yet");
                    PAUSE_MIN * 4
                }
            }
        };
        clock.sleep(pause.clamp(PAUSE_MIN, PAUSE_MAX)).await;
    }
}
