//! The connections that the store's statements go through.
//!
//! Invariant: in tests that ask for it (`answer_at_once`) a statement is answered before anything else of its thread
//! runs, so that what a test does follows from its seed and not from how fast the database's threads are. The
//! processes that people run know none of this: there these are SeaORM's own types.

use sea_orm::{DatabaseConnection, DbErr, TransactionOptions};

#[cfg(not(test))]
pub(crate) use sea_orm::{DatabaseConnection as Connection, DatabaseTransaction as Transaction};

#[cfg(test)]
pub(super) use self::at_once::settle;
#[cfg(test)]
pub(crate) use self::at_once::{Connection, Transaction, answer_at_once, statements};

#[cfg(test)]
mod at_once;

/// The pool as the store uses it.
pub(super) fn of(pool: DatabaseConnection) -> Connection {
    #[cfg(not(test))]
    return pool;
    #[cfg(test)]
    Connection::from(pool)
}

/// Waits for something of the database that is more than one statement.
#[cfg(not(test))]
pub(super) async fn settle<T>(work: impl Future<Output = T>) -> T {
    work.await
}

/// Begins a transaction.
pub(super) async fn begin(
    pool: &Connection,
    options: TransactionOptions,
) -> Result<Transaction, DbErr> {
    #[cfg(not(test))]
    use sea_orm::TransactionTrait;

    pool.begin_with_options(options).await
}
