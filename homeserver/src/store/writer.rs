//! The one writer: group commit (`design.md`, idea 2).
//!
//! Invariant: no other code opens a write transaction. Whatever is waiting is committed in one
//! transaction and answered after it; if one of its members fails, all are tried singly, so that
//! one bad change never fails another. If there is no transaction to be had, all are answered at
//! once, and so they are if the database does not answer any more; if a commit broke off, nothing of it is done again, since it may be on disk. On
//! PostgreSQL the log's lock is the transaction's first statement and the head is read after it.

use std::{collections::VecDeque, future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc};

use futures_util::FutureExt;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    SqliteTransactionMode, Statement, TransactionOptions,
};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{
    Engine, Heads, LogRow, StoreError, StoreOptions, Tx, connect,
    connection::{Connection, Transaction},
    entity::log,
    shred::Shredder,
};

/// Changes that may wait for the writer; more wait in their callers.
const WAITING_MAX: usize = 1024;
/// Changes in one transaction: beyond this, the latency of the first outweighs what is saved.
const BATCH_MAX: usize = 256;
/// Rows of other processes that are taken note of at once.
const FOREIGN_ROWS_MAX: u64 = 10_000;
/// The key of PostgreSQL's advisory lock that guards the log: "passeur" in ASCII.
const LOG_LOCK: &str = "SELECT pg_advisory_xact_lock(31647966270219634)";

/// Callers that may wait for a checkpoint at once.
const CHECKPOINTS_WAITING_MAX: usize = 4;
/// Empties SQLite's write-ahead log; answers (busy, pages in the log, pages moved).
const CHECKPOINT: &str = "PRAGMA wal_checkpoint(TRUNCATE)";
/// How long a checkpoint waits for readers, in ms: writes wait as well.
const CHECKPOINT_PATIENCE: &str = "PRAGMA busy_timeout = 250";
/// How long writes wait for another process, in ms: as the connection was opened.
const WRITE_PATIENCE: &str = "PRAGMA busy_timeout = 10000";

/// A write, as data: applied inside the writer's transaction, perhaps more than once.
///
/// A refusal belongs in `Output` and must be decided before the change writes anything; `Err` is
/// for a failing database only.
pub trait Change: Send + Sync + 'static {
    /// What the caller learns once the change is on disk.
    type Output: Send + 'static;

    /// Writes the change. It may be called again after a rollback, so it must not consume itself.
    fn apply(&self, tx: &mut Tx) -> impl Future<Output = Result<Self::Output, StoreError>> + Send;

    /// Called once the change is on disk and before anybody is told of it: the place to bring
    /// caches up to date. It runs on the writer's task and must be short.
    fn committed(&self, _output: &Self::Output) {}
}

/// A change that is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    /// What the change answered.
    pub output: T,
    /// The head of the log after the commit: a reader that has seen it has seen this change.
    pub head: i64,
}

/// What one commit appended to the log.
#[derive(Debug)]
pub struct Published {
    /// The rows, in the order of their positions.
    pub rows: Vec<LogRow>,
    /// The head of the log after the commit.
    pub head: i64,
}

type Applying<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

/// A change of any type, with the one who waits for it.
trait Waiting: Send + Sync {
    fn apply<'a>(&'a mut self, tx: &'a mut Tx) -> Applying<'a>;
    fn committed(&mut self);
    fn answer(self: Box<Self>, outcome: Result<i64, StoreError>);
}

struct Job<C: Change> {
    change: C,
    output: std::sync::Mutex<Option<C::Output>>,
    waiting: oneshot::Sender<Result<Committed<C::Output>, StoreError>>,
}

impl<C: Change> Waiting for Job<C> {
    fn apply<'a>(&'a mut self, tx: &'a mut Tx) -> Applying<'a> {
        Box::pin(async move {
            let output = self.change.apply(tx).await?;
            if let Ok(slot) = self.output.get_mut() {
                *slot = Some(output);
            }
            Ok(())
        })
    }

    fn committed(&mut self) {
        if let Ok(Some(output)) = self.output.get_mut() {
            self.change.committed(output);
        }
    }

    fn answer(self: Box<Self>, outcome: Result<i64, StoreError>) {
        let output = self.output.into_inner().ok().flatten();
        let answer = match (outcome, output) {
            (Ok(head), Some(output)) => Ok(Committed { output, head }),
            (Ok(_), None) => Err(StoreError::Closed),
            (Err(error), _) => Err(error),
        };
        // A caller that has gone away does not mind.
        let _ = self.waiting.send(answer);
    }
}

type Batch = VecDeque<Box<dyn Waiting>>;

/// One who waits for a checkpoint: whether the log of SQLite was emptied.
type Checkpoint = oneshot::Sender<Result<bool, StoreError>>;

/// The handle of the writer's task.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Waiting>>>>,
    sender: mpsc::WeakSender<Box<dyn Waiting>>,
    checkpoints: mpsc::Sender<Checkpoint>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Writer {
    /// Starts the task on the one connection that writes.
    pub(super) fn start(
        write: Connection,
        options: StoreOptions,
        engine: Engine,
        heads: Arc<Heads>,
        shredder: Arc<Shredder>,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let sender = jobs.downgrade();
        let (checkpoints, checkpoints_waiting) = mpsc::channel(CHECKPOINTS_WAITING_MAX);
        let task = tokio::spawn(
            Task {
                write,
                options,
                is_broken: false,
                engine,
                heads,
                shredder,
                waiting,
                checkpoints: checkpoints_waiting,
            }
            .run(),
        );
        Self {
            jobs: Mutex::new(Some(jobs)),
            sender,
            checkpoints,
            task: Mutex::new(Some(task)),
        }
    }

    pub(super) async fn commit<C: Change>(
        &self,
        change: C,
    ) -> Result<Committed<C::Output>, StoreError> {
        let jobs = self.sender.upgrade().ok_or(StoreError::Closed)?;
        let (waiting, answer) = oneshot::channel();
        let job = Job {
            change,
            output: std::sync::Mutex::new(None),
            waiting,
        };
        jobs.send(Box::new(job))
            .await
            .map_err(|_| StoreError::Closed)?;
        drop(jobs);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Lets the log of SQLite be emptied between two batches; answers whether it was.
    pub(super) async fn checkpoint(&self) -> Result<bool, StoreError> {
        let (waiting, answer) = oneshot::channel();
        let handed_in = self.checkpoints.send(waiting).await;
        handed_in.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Finishes what was handed in and stops the task.
    pub(super) async fn close(&self) {
        drop(self.jobs.lock().await.take());
        if let Some(task) = self.task.lock().await.take() {
            // The task ends by itself once the last sender is gone; a panic in it was logged there.
            let _ = task.await;
        }
    }
}

/// Why a batch is not on disk.
enum Failure {
    /// One of its members failed, or what all of them appended: tried singly, the others may not.
    Member(StoreError),
    /// There was no transaction, or its end failed: it is the same for all.
    All(StoreError),
}

impl Failure {
    fn error(&self) -> &StoreError {
        match self {
            Self::Member(error) | Self::All(error) => error,
        }
    }
}

struct Task {
    write: Connection,
    options: StoreOptions,
    /// Whether the connection to SQLite must be opened anew. A full disk ends a transaction by itself; its driver counts it as open
    /// for ever then and refuses every later one.
    is_broken: bool,
    engine: Engine,
    heads: Arc<Heads>,
    shredder: Arc<Shredder>,
    waiting: mpsc::Receiver<Box<dyn Waiting>>,
    checkpoints: mpsc::Receiver<Checkpoint>,
}

impl Task {
    async fn run(mut self) {
        let mut taken = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                // Those who wait for a checkpoint are few, and busy times must not keep them waiting.
                biased;
                Some(waiting) = self.checkpoints.recv() => {
                    // A caller that has gone away does not mind.
                    let _ = waiting.send(self.checkpoint().await);
                }
                count = self.waiting.recv_many(&mut taken, BATCH_MAX) => {
                    if count == 0 {
                        break;
                    }
                    let batch: Batch = taken.drain(..).collect();
                    self.commit_together(batch).await;
                }
            }
        }
        let _ = self.write.close().await;
    }

    /// Outside of any transaction: SQLite refuses it inside of one. All writes wait meanwhile, so
    /// readers are not waited for long.
    async fn checkpoint(&self) -> Result<bool, StoreError> {
        if self.engine != Engine::Sqlite {
            return Ok(true);
        }
        self.write.execute_unprepared(CHECKPOINT_PATIENCE).await?;
        let statement = Statement::from_string(DbBackend::Sqlite, CHECKPOINT.to_owned());
        let outcome = self.write.query_one_raw(statement).await;
        self.write.execute_unprepared(WRITE_PATIENCE).await?;
        let row = outcome?.ok_or(StoreError::corrupt("wal_checkpoint", "busy"))?;
        let busy: i32 = row.try_get_by_index(0)?;
        Ok(busy == 0)
    }

    async fn commit_together(&mut self, mut batch: Batch) {
        match self.try_commit(&mut batch).await {
            Ok(published) => self.answer(batch, &published),
            Err(Failure::Member(_)) if batch.len() > 1 => self.commit_singly(batch).await,
            Err(failure) => refuse(batch, failure.error()),
        }
    }

    async fn commit_singly(&mut self, batch: Batch) {
        let mut waiting = batch.into_iter();
        while let Some(job) = waiting.next() {
            let mut single = Batch::from([job]);
            match self.try_commit(&mut single).await {
                Ok(published) => self.answer(single, &published),
                Err(Failure::Member(error)) => refuse(single, &error),
                // Nobody waits for one limit after another.
                Err(Failure::All(error)) => {
                    refuse(single, &error);
                    return refuse(waiting.collect(), &error);
                }
            }
        }
    }

    fn answer(&self, mut batch: Batch, published: &Published) {
        // A reader that read before this commit must see that it did, before any cache is renewed.
        self.heads.move_mark();
        for job in &mut batch {
            job.committed();
        }
        self.heads.publish(published);
        for job in batch {
            job.answer(Ok(published.head));
        }
    }

    async fn try_commit(&mut self, batch: &mut Batch) -> Result<Published, Failure> {
        let (mut tx, foreign) = self.begin().await.map_err(Failure::All)?;
        for job in batch.iter_mut() {
            // A change that panics fails alone: without this task nobody could write any more. Its hook has logged where.
            let applied = AssertUnwindSafe(job.apply(&mut tx)).catch_unwind().await;
            if let Err(error) = applied.unwrap_or(Err(StoreError::Panicked)) {
                if matches!(error, StoreError::Unreachable(_)) {
                    // There is nobody to be asked for a rollback, nor for the others' changes. The driver has the connection rolled
                    // back before anybody else gets it.
                    self.is_broken = true;
                    return Err(Failure::All(error));
                }
                // The first error is the one that counts.
                self.is_broken |= tx.rollback().await.is_err();
                return Err(Failure::Member(error));
            }
        }
        let finished = match tx.finish().await {
            Ok(finished) => finished,
            Err(error) => {
                self.is_broken = true;
                return Err(match error {
                    error @ StoreError::Unreachable(_) => Failure::All(error),
                    error => Failure::Member(error),
                });
            }
        };
        // What is about to be acknowledged must be readable after a crash, and what is about to be forgotten must not.
        if let Err(error) = self.shredder.save(&finished.kills).await {
            self.is_broken |= finished.connection.rollback().await.is_err();
            return Err(Failure::All(error));
        }
        if let Err(error) = finished.connection.commit().await {
            self.is_broken = true;
            return Err(Failure::All(StoreError::of_commit(error)));
        }
        let mut rows = finished.appended;
        if !foreign.is_empty() {
            rows.splice(..0, foreign);
        }
        Ok(Published {
            rows,
            head: finished.head,
        })
    }

    /// Begins a transaction; answers with it what another process (the command line) has appended to the log since this one looked
    /// last, so that caches and syncs hear of it as of our own.
    async fn begin(&mut self) -> Result<(Tx, Vec<LogRow>), StoreError> {
        if std::mem::take(&mut self.is_broken) && self.engine == Engine::Sqlite {
            self.reopen().await?;
        }
        let begun = self.try_begin().await;
        self.is_broken = begun.is_err();
        begun
    }

    async fn reopen(&mut self) -> Result<(), StoreError> {
        // If this fails, the next who comes tries it again.
        self.is_broken = true;
        let again = connect::writing(&self.options, self.engine).await?;
        let again = Connection::new(again, connect::patience(&self.options, self.engine));
        let broken = std::mem::replace(&mut self.write, again);
        self.is_broken = false;
        // Nothing of it was committed: there is nothing to lose.
        let _ = broken.close().await;
        Ok(())
    }

    async fn try_begin(&self) -> Result<(Tx, Vec<LogRow>), StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let connection = self.write.begin_with_options(options).await?;
        if self.engine == Engine::Postgres {
            connection.execute_unprepared(LOG_LOCK).await?;
        }
        let head: Option<i64> = log::Entity::find()
            .select_only()
            .column(log::Column::Position)
            .order_by_desc(log::Column::Position)
            .limit(1)
            .into_tuple()
            .one(&connection)
            .await?;
        let (head, known) = (head.unwrap_or(0), self.heads.head());
        let foreign = match head > known {
            true => foreign_rows(&connection, known).await?,
            false => Vec::new(),
        };
        let shredder = Arc::clone(&self.shredder);
        Ok((Tx::new(connection, head, shredder), foreign))
    }
}

/// The rows above a position, at most [`FOREIGN_ROWS_MAX`].
async fn foreign_rows(connection: &Transaction, known: i64) -> Result<Vec<LogRow>, StoreError> {
    let rows = log::Entity::find()
        .filter(log::Column::Position.gt(known))
        .order_by_asc(log::Column::Position)
        .limit(FOREIGN_ROWS_MAX)
        .all(connection)
        .await?;
    rows.into_iter().map(LogRow::try_from).collect()
}

/// Changes nothing: only looks whether another process has.
#[derive(Clone, Copy, Debug)]
pub struct Look;

impl Change for Look {
    type Output = ();

    async fn apply(&self, _: &mut Tx) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Answers all that they failed.
fn refuse(batch: Batch, error: &StoreError) {
    for job in batch {
        job.answer(Err(clone(error)));
    }
}

/// The same failure for each of those who wait.
fn clone(error: &StoreError) -> StoreError {
    match error {
        StoreError::Driver(error) => StoreError::Driver(error.clone()),
        StoreError::Full => StoreError::Full,
        StoreError::Unreachable(error) => StoreError::Unreachable(error.clone()),
        StoreError::Unconfirmed(error) => StoreError::Unconfirmed(error.clone()),
        StoreError::Corrupt { table, column } => StoreError::Corrupt { table, column },
        StoreError::RowsAffected {
            table,
            expected,
            found,
        } => StoreError::RowsAffected {
            table,
            expected: *expected,
            found: *found,
        },
        StoreError::KeyStore(error) => StoreError::KeyStore(Arc::clone(error)),
        StoreError::Closed => StoreError::Closed,
        StoreError::Panicked => StoreError::Panicked,
        StoreError::UnknownEngine => StoreError::UnknownEngine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing;

    #[derive(Debug)]
    struct Broken;

    impl Change for Broken {
        type Output = ();

        async fn apply(&self, _: &mut Tx) -> Result<(), StoreError> {
            panic!("an invariant of ours does not hold");
        }
    }

    #[tokio::test]
    async fn a_change_that_panics_fails_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::open_in(folder.path()).await;
        let (one, broken, two) =
            tokio::join!(store.commit(Look), store.commit(Broken), store.commit(Look));
        assert!(matches!(broken, Err(StoreError::Panicked)));
        assert!(one.is_ok() && two.is_ok());
        assert!(store.commit(Look).await.is_ok());
    }
}
