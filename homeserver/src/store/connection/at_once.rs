//! Statements that can be made to answer before anything else of their thread runs.
//!
//! Invariant: a thread that never called [`answer_at_once`] waits as the program does that people run.

use std::{
    cell::Cell,
    future::Future,
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

/// How long the thread is held up for one answer: a statement that waits for something of this thread would wait for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where connections return to their pool, which they do by tasks of their own: this thread may be waiting for them.
static POOL_TASKS: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
});

thread_local! {
    static AT_ONCE: Cell<bool> = const { Cell::new(false) };
    static STATEMENTS: Cell<u64> = const { Cell::new(0) };
}

/// From now on, statements of this thread are answered before anything else of it runs.
pub(crate) fn answer_at_once() {
    AT_ONCE.set(true);
}

/// How many statements this thread has made.
pub(crate) fn statements() -> u64 {
    STATEMENTS.get()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for `statement`, holding the thread up if it was asked for.
pub(in crate::store) async fn settle<T>(statement: impl Future<Output = T>) -> T {
    if !AT_ONCE.get() {
        return statement.await;
    }
    STATEMENTS.set(STATEMENTS.get() + 1);
    // A task that never rests would use up what tokio grants it between two rests.
    let mut statement = pin!(tokio::task::coop::unconstrained(statement));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let _entered = POOL_TASKS.enter();
    #[expect(clippy::disallowed_methods, reason = "how long the test machine takes")]
    let since = Instant::now();
    loop {
        if let Poll::Ready(answer) = statement.as_mut().poll(&mut Context::from_waker(&waker)) {
            return answer;
        }
        thread::park_timeout(PATIENCE);
        assert!(
            since.elapsed() < PATIENCE,
            "a statement waits for its own thread"
        );
    }
}
