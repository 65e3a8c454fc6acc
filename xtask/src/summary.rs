//! The table that ends a test run: each step, how it went, how long it took.

use std::{
    fmt::{Display, Formatter, Result as FmtResult},
    time::{Duration, Instant},
};

/// How one step went.
struct Row {
    step: &'static str,
    failure: Option<String>,
    took: Duration,
}

/// What has been run so far.
#[derive(Default)]
pub(crate) struct Summary {
    rows: Vec<Row>,
}

impl Summary {
    /// Runs one step and notes how it went; later steps run all the same, so that one run shows every failure.
    pub(crate) fn step<T>(
        &mut self,
        step: &'static str,
        work: impl FnOnce() -> Result<T, String>,
    ) -> Option<T> {
        println!("\n== {step}");
        let started = now();
        let done = work();
        let took = now().duration_since(started);
        let (value, failure) = match done {
            Ok(value) => (Some(value), None),
            Err(message) => (None, Some(message)),
        };
        if let Some(message) = &failure {
            println!("{message}");
        }
        self.rows.push(Row {
            step,
            failure,
            took,
        });
        value
    }

    /// An error with the number of failed steps, if any failed.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        match self.rows.iter().filter(|row| row.failure.is_some()).count() {
            0 => Ok(()),
            failed => Err(format!("{failed} of {} steps failed", self.rows.len())),
        }
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        writeln!(f, "\n{:<10} {:<7} {:>8}", "step", "result", "seconds")?;
        for row in &self.rows {
            let result = if row.failure.is_none() {
                "ok"
            } else {
                "FAILED"
            };
            writeln!(
                f,
                "{:<10} {:<7} {:>8.1}  {}",
                row.step,
                result,
                row.took.as_secs_f64(),
                row.failure.as_deref().unwrap_or_default()
            )?;
        }
        let total: Duration = self.rows.iter().map(|row| row.took).sum();
        write!(f, "{:<10} {:<7} {:>8.1}", "all", "", total.as_secs_f64())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures how long a command took; nothing decides by it"
)]
fn now() -> Instant {
    Instant::now()
}
