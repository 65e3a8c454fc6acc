//! What the demo prints: one line a step, with the time since the start.

use tokio::time::Instant;

/// Prints; knows when the demo began.
pub(crate) struct Report {
    started: Instant,
}

impl Report {
    /// Starts to count.
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// One step, as it is done.
    pub(crate) fn step(&self, text: &str) {
        println!("{:>7.1} s  {text}", self.started.elapsed().as_secs_f64());
    }

    /// What belongs to the step above, every line of it.
    pub(crate) fn quote(&self, text: &str) {
        for line in text.lines() {
            println!("           | {line}");
        }
    }

    /// Lines that are no step.
    pub(crate) fn text(&self, text: &str) {
        println!("{text}");
    }
}
