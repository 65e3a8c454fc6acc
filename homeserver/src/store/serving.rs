//! That one process at a time serves a database server's database.
//!
//! Invariant: the lock belongs to a session of its own, which does nothing else; it ends with the process, however that ends. What
//! the command line does beside a server needs no lock. (On SQLite the lock of the data folder does the same.)

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};

use super::{Engine, StoreError, StoreOptions, connect, connection::Connection};

/// Waits for the lock: "passeus" in ASCII, beside the log's lock.
const LOCK: &str = "SELECT pg_advisory_lock(31647966270219635)::text";
/// Takes it again, in the session that has it or in one that took its place, without waiting.
const LOCK_AGAIN: &str = "SELECT pg_try_advisory_lock(31647966270219635)";
/// Sets how long a statement waits for a lock, in ms.
const PATIENCE: &str = "SELECT set_config('lock_timeout', $1, false)";
/// PostgreSQL's state for a lock that was not to be had.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The right to serve a database, as long as it lives.
#[derive(Debug)]
pub struct Claim {
    session: Option<Connection>,
}

impl Claim {
    /// Takes it; `None` if another process has it and keeps it for `patience`, which a process that was killed does not.
    ///
    /// # Errors
    /// What the database says.
    pub async fn take(
        options: &StoreOptions,
        patience: Duration,
    ) -> Result<Option<Self>, StoreError> {
        let engine = options.engine()?;
        if engine == Engine::Sqlite {
            return Ok(Some(Self { session: None }));
        }
        let session = connect::writing(options, engine).await?;
        let patience = Value::from(patience.as_millis().to_string());
        let patience = Statement::from_sql_and_values(DbBackend::Postgres, PATIENCE, [patience]);
        session.query_one_raw(patience).await?;
        match session.execute_unprepared(LOCK).await {
            Ok(_) => Ok(Some(Self {
                session: Some(Connection::new(session, connect::patience(options, engine))),
            })),
            Err(error) if StoreError::has_code(&error, LOCK_NOT_AVAILABLE) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it is still ours; a session that broke off is begun anew.
    ///
    /// # Errors
    /// What the database says.
    pub async fn holds(&self) -> Result<bool, StoreError> {
        let Some(session) = &self.session else {
            return Ok(true);
        };
        let again = Statement::from_string(DbBackend::Postgres, LOCK_AGAIN.to_owned());
        let row = session.query_one_raw(again).await?;
        let row = row.ok_or(StoreError::corrupt("pg_locks", "granted"))?;
        Ok(row.try_get_by_index(0)?)
    }

    /// Whether it can be lost.
    pub fn can_be_lost(&self) -> bool {
        self.session.is_some()
    }

    /// Gives it to whoever comes next.
    pub async fn release(self) {
        if let Some(session) = self.session {
            // A session that is broken has given it up already.
            let _ = session.close().await;
        }
    }
}
