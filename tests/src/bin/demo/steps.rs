//! What the demo prints: one line a step, with the seconds since its start.

use std::{fmt::Display, time::Duration};

use tokio::time::Instant;

/// Why a step does not hold.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The demo's clock and voice.
pub(crate) struct Steps(Instant);

impl Steps {
    /// Starts the clock.
    pub(crate) fn start() -> Self {
        Self(now())
    }

    /// Tells that a step is done.
    pub(crate) fn done(&self, what: impl Display) {
        println!("{:>6.1} s  {what}", self.elapsed().as_secs_f64());
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        now().duration_since(self.0)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "shows how long a step took; nothing decides by it"
)]
fn now() -> Instant {
    Instant::now()
}

/// Asks again every 250 ms until there is something, for at most `patience`.
pub(crate) async fn until<T>(
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let asking = async {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            if let Some(found) = ask().await {
                return found;
            }
        }
    };
    tokio::time::timeout(patience, asking).await.ok()
}
