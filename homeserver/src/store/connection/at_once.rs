//! Connections whose statements can be made to answer before anything else of their thread runs.
//!
//! Invariant: a thread that never called [`answer_at_once`] sees SeaORM's own behaviour.

use std::{
    cell::Cell,
    future::Future,
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    QueryResult, Statement, TransactionOptions, TransactionTrait,
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

/// A pool of connections.
#[derive(Debug)]
pub(crate) struct Connection(DatabaseConnection);

impl From<DatabaseConnection> for Connection {
    fn from(pool: DatabaseConnection) -> Self {
        Self(pool)
    }
}

impl Connection {
    pub(crate) async fn begin(&self) -> Result<Transaction, DbErr> {
        settle(self.0.begin()).await.map(Transaction)
    }

    pub(crate) async fn begin_with_options(
        &self,
        options: TransactionOptions,
    ) -> Result<Transaction, DbErr> {
        let begun = settle(self.0.begin_with_options(options)).await;
        begun.map(Transaction)
    }

    pub(crate) async fn close(self) -> Result<(), DbErr> {
        self.0.close().await
    }

    pub(crate) async fn close_by_ref(&self) -> Result<(), DbErr> {
        self.0.close_by_ref().await
    }
}

/// An open transaction.
#[derive(Debug)]
pub(crate) struct Transaction(DatabaseTransaction);

impl Transaction {
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        settle(self.0.commit()).await
    }

    pub(crate) async fn rollback(self) -> Result<(), DbErr> {
        settle(self.0.rollback()).await
    }
}

macro_rules! statements {
    ($($type:ty),+) => {$(
        #[sea_orm::prelude::async_trait::async_trait]
        impl ConnectionTrait for $type {
            fn get_database_backend(&self) -> DbBackend {
                self.0.get_database_backend()
            }

            async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
                settle(self.0.execute_raw(statement)).await
            }

            async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
                settle(self.0.execute_unprepared(sql)).await
            }

            async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
                settle(self.0.query_one_raw(statement)).await
            }

            async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
                settle(self.0.query_all_raw(statement)).await
            }
        }
    )+};
}

statements!(Connection, Transaction);
