//! Everything that is on disk: the database, its one writer and its one log.
//!
//! Invariant: SQL stands only in this folder, and only [`writer`] opens a write transaction. An
//! answer to a write means that it is on disk. Lookups return `Option`; a refusal is an output of
//! a change, never a failing statement.
//!
//! How to add a table: a migration in the crate `passeur-migrations`, an entity in `entity/`, and
//! a file of plain verbs here. Reads are methods on [`Store`] that use [`Store::reader`]; writes
//! are types that implement [`Change`] and are handed to [`Store::commit`].

use std::sync::Arc;

use sea_orm::{DatabaseConnection, EntityTrait, QueryOrder, QuerySelect};

mod connect;
pub mod entity;
mod error;
mod heads;
mod log;
mod scope;
mod tx;
mod writer;

pub use self::{
    connect::{Engine, StoreOptions},
    error::StoreError,
    heads::Heads,
    log::{LogEnd, LogKind, LogRow},
    scope::Scope,
    tx::Tx,
    writer::{Change, Committed, Published},
};

/// The database of one server: a pool for reading, one writer, and what was committed last.
///
/// Cheap to share behind an `Arc`. Reading never waits for writing (WAL on SQLite, MVCC on
/// PostgreSQL).
#[derive(Debug)]
pub struct Store {
    reader: DatabaseConnection,
    writer: writer::Writer,
    heads: Arc<Heads>,
    engine: Engine,
}

impl Store {
    /// Opens the database, brings its tables up to date and starts the writer.
    ///
    /// # Errors
    /// [`StoreError::Driver`] if the database cannot be reached, opened or migrated.
    pub async fn open(options: &StoreOptions) -> Result<Arc<Self>, StoreError> {
        let engine = options.engine()?;
        let write = connect::writing(options, engine).await?;
        connect::migrate(&write).await?;
        let reader = connect::reading(options, engine).await?;
        let heads = Arc::new(Heads::new(newest_position(&reader).await?));
        let writer = writer::Writer::start(write, engine, Arc::clone(&heads));
        Ok(Arc::new(Self {
            reader,
            writer,
            heads,
            engine,
        }))
    }

    /// The pool for reads. Statements that write are refused here by the database itself on SQLite.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// Which database engine this is.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// What was committed last, for the whole log and for each scope.
    pub fn heads(&self) -> &Heads {
        &self.heads
    }

    /// Commits one change, together with whatever else is waiting, and answers once it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Closed`] after [`Store::close`]; otherwise what the database said, in which
    /// case nothing of this change is stored.
    pub async fn commit<C: Change>(&self, change: C) -> Result<Committed<C::Output>, StoreError> {
        self.writer.commit(change).await
    }

    /// Calls `hook` after each commit with what was appended to the log, in the order of commits.
    ///
    /// The hook runs on the writer's task: it must be short and must not block.
    pub fn on_commit(&self, hook: impl Fn(&Published) + Send + Sync + 'static) {
        self.heads.on_commit(Box::new(hook));
    }

    /// Finishes what was handed in, then closes the database. Later commits are refused.
    pub async fn close(&self) {
        self.writer.close().await;
        // Closing a pool by reference leaves its clones closed as well.
        let _ = self.reader.close_by_ref().await;
    }
}

/// The newest position in the log; 0 in an empty one.
async fn newest_position(reader: &DatabaseConnection) -> Result<i64, StoreError> {
    let newest: Option<i64> = entity::log::Entity::find()
        .select_only()
        .column(entity::log::Column::Position)
        .order_by_desc(entity::log::Column::Position)
        .limit(1)
        .into_tuple()
        .one(reader)
        .await?;
    Ok(newest.unwrap_or(0))
}
