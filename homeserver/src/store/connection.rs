//! The connections that the store's statements go through.
//!
//! Invariant: a database server that says nothing is waited for no longer than [`Patience`] allows: whoever asked is told that it
//! cannot be reached, and nobody hangs with it. SQLite, which is this process itself, is waited for. In tests that ask for it
//! (`answer_at_once`) a statement is answered before anything else of its thread runs, so that what a test does follows from its
//! seed and not from how fast the database's threads are.

use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    QueryResult, RuntimeErr, Statement, TransactionOptions, TransactionTrait,
};

#[cfg(test)]
pub(super) use self::at_once::settle;
#[cfg(test)]
pub(crate) use self::at_once::{answer_at_once, statements};

#[cfg(test)]
mod at_once;

/// What is said of a database server that does not answer.
pub(super) const NO_ANSWER: &str = "it has not answered in time";

/// How long an answer is waited for; without a limit, as long as it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(pub(super) Option<Duration>);

impl Patience {
    /// Waits for one answer. One that is given up is still read by the driver before its connection is used again.
    async fn wait<T>(self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        let Some(limit) = self.0 else {
            return settle(work).await;
        };
        let answer = tokio::time::timeout(limit, settle(work)).await;
        answer.unwrap_or_else(|_| Err(DbErr::Conn(RuntimeErr::Internal(NO_ANSWER.to_owned()))))
    }
}

/// Waits for something of the database.
#[cfg(not(test))]
pub(super) async fn settle<T>(work: impl Future<Output = T>) -> T {
    work.await
}

/// A pool of connections.
#[derive(Debug)]
pub(crate) struct Connection {
    pool: DatabaseConnection,
    patience: Patience,
}

impl Connection {
    /// The pool as the store uses it.
    pub(super) fn new(pool: DatabaseConnection, patience: Patience) -> Self {
        Self { pool, patience }
    }

    /// Begins a transaction.
    pub(super) async fn begin_with_options(
        &self,
        options: TransactionOptions,
    ) -> Result<Transaction, DbErr> {
        let begun = self.pool.begin_with_options(options);
        Ok(Transaction {
            open: self.patience.wait(begun).await?,
            patience: self.patience,
        })
    }

    pub(super) async fn close(self) -> Result<(), DbErr> {
        self.patience.wait(self.pool.close()).await
    }

    pub(super) async fn close_by_ref(&self) -> Result<(), DbErr> {
        self.patience.wait(self.pool.close_by_ref()).await
    }
}

/// An open transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    open: DatabaseTransaction,
    patience: Patience,
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        self.patience.wait(self.open.commit()).await
    }

    pub(crate) async fn rollback(self) -> Result<(), DbErr> {
        self.patience.wait(self.open.rollback()).await
    }
}

macro_rules! statements {
    ($($type:ty: $inner:ident),+) => {$(
        #[sea_orm::prelude::async_trait::async_trait]
        impl ConnectionTrait for $type {
            fn get_database_backend(&self) -> DbBackend {
                self.$inner.get_database_backend()
            }

            async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
                self.patience.wait(self.$inner.execute_raw(statement)).await
            }

            async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
                self.patience.wait(self.$inner.execute_unprepared(sql)).await
            }

            async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
                self.patience.wait(self.$inner.query_one_raw(statement)).await
            }

            async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
                self.patience.wait(self.$inner.query_all_raw(statement)).await
            }
        }
    )+};
}

statements!(Connection: pool, Transaction: open);
