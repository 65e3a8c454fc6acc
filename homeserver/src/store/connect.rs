//! Opening the database: which engine, with which settings.
//!
//! Invariant: SQLite always runs with WAL, `synchronous=FULL` (an answered commit survives a power
//! cut) and `secure_delete` (deleted content is overwritten in the pages).

use std::time::Duration;

use passeur_migrations::server::Migrator;
use sea_orm::{ConnectOptions, Database, DatabaseConnection};
use sea_orm_migration::MigratorTrait;

use super::{ShredKeys, StoreError, connection::Patience};

/// How long a connection waits for another process's write lock on SQLite.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a read waits for a free connection; also how long SQLite's writer does, which is there at once or never.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a read of a database server: one that cannot be reached is waited for no longer than that.
const SERVER_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the writer waits for a database server that cannot be reached: all writes wait meanwhile, and more come.
const WRITER_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a database server may take for one statement: longer than any takes that it works on, shorter than a client waits.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// What caches may take unless told otherwise, in bytes.
const CACHE_BYTES: u64 = 18 * 1024 * 1024;
/// Prepared statements kept for each connection.
const STATEMENTS_MAX: usize = 128;

/// What SQLite may cache of the database for a reader: negative, so in KiB. The operating system caches it all the same.
const READER_CACHE: &str = "-1000";
/// The same for the writer, whose pages are also those that a transaction changes.
const WRITER_CACHE: &str = "-4000";

/// How many pages of 4 KiB the write-ahead log may grow to before they are moved into the database: what changes often is
/// moved less often the longer that waits.
const CHECKPOINT_PAGES: &str = "4000";

/// The database engines that the store runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The embedded default: one process.
    Sqlite,
    /// For several replicas.
    Postgres,
}

/// Where the database is and how much of it to use.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `sqlite:PATH`, `sqlite::memory:` is refused (readers would see another database), or
    /// `postgres://USER:PASSWORD@HOST/DATABASE`.
    pub url: String,
    /// Connections for reading; one more is kept for writing.
    pub readers_max: u32,
    /// What all caches of rooms, events and keys may take together, in bytes.
    pub cache_bytes: u64,
    /// Where the keys of expiring content are.
    pub keys: ShredKeys,
    /// How long a database server may take for one statement before it counts as lost. SQLite is waited for.
    pub answer_max: Duration,
}

impl StoreOptions {
    /// Options for a URL, with the default number of readers.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            readers_max: 4,
            cache_bytes: CACHE_BYTES,
            keys: ShredKeys::default(),
            answer_max: ANSWER_MAX,
        }
    }

    /// The engine that the URL names.
    ///
    /// # Errors
    /// [`StoreError::UnknownEngine`] for any other scheme, or for a database in memory.
    pub fn engine(&self) -> Result<Engine, StoreError> {
        if self.url.starts_with("sqlite:") && !self.url.contains(":memory:") {
            Ok(Engine::Sqlite)
        } else if self.url.starts_with("postgres:") || self.url.starts_with("postgresql:") {
            Ok(Engine::Postgres)
        } else {
            Err(StoreError::UnknownEngine)
        }
    }
}

/// How long an answer of this engine is waited for.
pub(super) fn patience(options: &StoreOptions, engine: Engine) -> Patience {
    Patience((engine == Engine::Postgres).then_some(options.answer_max))
}

/// The one connection that writes.
pub(super) async fn writing(
    options: &StoreOptions,
    engine: Engine,
) -> Result<DatabaseConnection, StoreError> {
    connect(options, engine, 1, false).await
}

/// The pool that reads.
pub(super) async fn reading(
    options: &StoreOptions,
    engine: Engine,
) -> Result<DatabaseConnection, StoreError> {
    connect(options, engine, options.readers_max.max(1), true).await
}

/// Brings the tables up to date.
pub(super) async fn migrate(write: &DatabaseConnection) -> Result<(), StoreError> {
    Migrator::up(write, None).await?;
    Ok(())
}

async fn connect(
    options: &StoreOptions,
    engine: Engine,
    connections: u32,
    read_only: bool,
) -> Result<DatabaseConnection, StoreError> {
    let mut connect = ConnectOptions::new(options.url.clone());
    connect
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(match (engine, read_only) {
            (Engine::Sqlite, _) => ACQUIRE_TIMEOUT,
            (Engine::Postgres, true) => SERVER_ACQUIRE_TIMEOUT.min(options.answer_max),
            (Engine::Postgres, false) => WRITER_ACQUIRE_TIMEOUT.min(options.answer_max),
        })
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(engine == Engine::Postgres && !read_only)
        .sqlx_logging(false);
    if engine == Engine::Sqlite {
        connect.map_sqlx_sqlite_opts(move |sqlite| {
            sqlite
                .create_if_missing(true)
                .busy_timeout(BUSY_TIMEOUT)
                .statement_cache_capacity(STATEMENTS_MAX)
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
                .pragma("secure_delete", "ON")
                .pragma("temp_store", "MEMORY")
                .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
                .pragma(
                    "cache_size",
                    if read_only {
                        READER_CACHE
                    } else {
                        WRITER_CACHE
                    },
                )
                .pragma("query_only", if read_only { "ON" } else { "OFF" })
        });
    } else {
        connect
            .map_sqlx_postgres_opts(|postgres| postgres.statement_cache_capacity(STATEMENTS_MAX));
    }
    let connection = Database::connect(connect).await?;
    #[cfg(test)]
    super::testing::limit_pages(&connection, &options.url).await;
    #[cfg(test)]
    let connection = super::testing::watched(connection, engine, &options.url);
    Ok(connection)
}
