//! How the telling of a story went, and what is said of many.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::time::timeout;

/// How long one story may take, on a machine busy with other tests.
const STORY_MAX: Duration = Duration::from_secs(150);

/// How many stories are told at a time.
pub(super) const AT_ONCE: usize = 4;

/// How one telling went.
pub(super) struct Outcome {
    name: String,
    failure: Option<String>,
    took: Duration,
}

/// Tells a story to its end, to its first panic, or until its time is over.
#[expect(
    clippy::disallowed_methods,
    reason = "what is told of is how long real programs took"
)]
pub(super) async fn tell(name: String, story: impl Future<Output = ()>) -> Outcome {
    let started = Instant::now();
    let ended = timeout(STORY_MAX, AssertUnwindSafe(story).catch_unwind()).await;
    let failure = match ended {
        Ok(Ok(())) => None,
        Ok(Err(panic)) => Some(message(panic.as_ref())),
        Err(_) => Some(format!("not at its end after {STORY_MAX:?}")),
    };
    Outcome {
        name,
        failure,
        took: started.elapsed(),
    }
}

impl Outcome {
    fn line(&self) -> String {
        let result = if self.failure.is_none() {
            "ok"
        } else {
            "FAILED"
        };
        format!(
            "{result:<7} {:>5.1} s  {}",
            self.took.as_secs_f32(),
            self.name
        )
    }
}

/// Prints a line for each telling; what to say of those that failed, if any did.
#[expect(clippy::print_stdout, reason = "the report is read by people")]
pub(super) fn report(outcomes: &[Outcome]) -> Result<(), String> {
    for outcome in outcomes {
        println!("{}", outcome.line());
    }
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| Some(format!("{}\n{}", outcome.line(), outcome.failure.as_ref()?)))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let (count, all) = (failed.len(), outcomes.len());
    let failed = failed.join("\n\n");
    Err(format!("{count} of {all} stories failed:\n\n{failed}"))
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a text".to_owned())
}
