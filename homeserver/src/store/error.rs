//! What can go wrong with the database. Callers answer 500 and log it once; nothing of it leaves.

use sea_orm::DbErr;

/// A failure of the storage layer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be reached or refused a statement (a full disk among them).
    #[error("database: {0}")]
    Driver(#[from] DbErr),
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

impl StoreError {
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
