//! What can go wrong with the database. Callers answer 500 and log it once; nothing of it leaves.

use std::sync::Arc;

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, SqlxError};

use super::{KeyStoreError, connection::NO_ANSWER};

/// SQLite's code for a full disk.
const SQLITE_FULL: &str = "13";
/// PostgreSQL's state for a full disk.
const POSTGRES_DISK_FULL: &str = "53100";
/// PostgreSQL's states for a server that ends, or does not take connections now: their beginning.
const POSTGRES_GONE: [&str; 3] = ["57P", "08", "53300"];

/// A failure of the storage layer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused a statement.
    #[error("database: {0}")]
    Driver(DbErr),
    /// There is no space for what is to be written. Nothing of it was.
    #[error("the disk is full: nothing new is stored until there is space again")]
    Full,
    /// The database could not be reached, or broke off before anything was decided.
    #[error("the database cannot be reached: {0}")]
    Unreachable(DbErr),
    /// A commit was under way when the database broke off: it may be on disk or not. What asked for it must not be done again
    /// but by its transaction id.
    #[error("the database broke off in the middle of a commit: {0}")]
    Unconfirmed(DbErr),
    /// A row does not hold what this program wrote: damage, or a newer version's row.
    #[error("table {table}: column {column} holds something unreadable")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// A write touched another number of rows than it must.
    #[error("table {table}: {found} rows were affected instead of {expected}")]
    RowsAffected {
        /// The table.
        table: &'static str,
        /// How many rows must change.
        expected: u64,
        /// How many did.
        found: u64,
    },
    /// The keys of expiring content could not be read or saved. Nothing was stored.
    #[error(transparent)]
    KeyStore(Arc<KeyStoreError>),
    /// The store is closed: the server is stopping.
    #[error("the database is closed")]
    Closed,
    /// A change broke an invariant of this program and was rolled back.
    #[error("a change panicked")]
    Panicked,
    /// The database URL names neither SQLite nor PostgreSQL.
    #[error("the database URL must begin with sqlite: or postgres:")]
    UnknownEngine,
}

impl From<KeyStoreError> for StoreError {
    fn from(error: KeyStoreError) -> Self {
        Self::KeyStore(Arc::new(error))
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match cause(&error) {
            Cause::Full => Self::Full,
            Cause::Unreachable => Self::Unreachable(error),
            Cause::Other => Self::Driver(error),
        }
    }
}

/// What an operator has to do about a failure.
enum Cause {
    Full,
    Unreachable,
    Other,
}

fn cause(error: &DbErr) -> Cause {
    match driver_error(error) {
        Some(SqlxError::Io(_) | SqlxError::PoolTimedOut | SqlxError::Tls(_)) => Cause::Unreachable,
        Some(SqlxError::Database(error)) => match error.code().as_deref() {
            Some(SQLITE_FULL | POSTGRES_DISK_FULL) => Cause::Full,
            Some(code) if POSTGRES_GONE.iter().any(|gone| code.starts_with(gone)) => {
                Cause::Unreachable
            }
            _ => Cause::Other,
        },
        Some(_) => Cause::Other,
        None => match error {
            DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => Cause::Unreachable,
            DbErr::Conn(RuntimeErr::Internal(said)) if said == NO_ANSWER => Cause::Unreachable,
            _ => Cause::Other,
        },
    }
}

/// What the driver said, if it was the driver.
fn driver_error(error: &DbErr) -> Option<&SqlxError> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner)) => Some(inner),
        _ => None,
    }
}

impl StoreError {
    /// Whether the database gave this code of its own as the reason.
    pub(super) fn has_code(error: &DbErr, code: &str) -> bool {
        let inner = driver_error(error).and_then(|error| error.as_database_error());
        inner.is_some_and(|error| error.code().as_deref() == Some(code))
    }

    /// The failure of a commit: unless the database says why, nobody knows whether it was done.
    pub(super) fn of_commit(error: DbErr) -> Self {
        match Self::from(error) {
            Self::Driver(error) | Self::Unreachable(error) => Self::Unconfirmed(error),
            other => other,
        }
    }

    /// An unreadable column of a table.
    pub fn corrupt(table: &'static str, column: &'static str) -> Self {
        Self::Corrupt { table, column }
    }

    /// Fails unless exactly `expected` rows were affected.
    ///
    /// # Errors
    /// [`StoreError::RowsAffected`] if the numbers differ.
    pub fn ensure_affected(table: &'static str, expected: u64, found: u64) -> Result<(), Self> {
        if expected == found {
            Ok(())
        } else {
            Err(Self::RowsAffected {
                table,
                expected,
                found,
            })
        }
    }
}
