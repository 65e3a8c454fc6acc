//! Copies of the database: taking one beside a running server, and going on from one.
//!
//! Invariant: what goes on from a copy uses no position and no one-time key that the server may have given out after the copy was made.

use std::path::Path;

use ruma::RoomId;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, Statement, Value};

use super::{
    Change, Engine, LogKind, Scope, StoreError, StoreOptions, Tx, connect, entity::one_time_keys,
};

/// Writes a copy of an SQLite database, as it is at one moment.
const COPY: &str = "VACUUM INTO ?";
/// How many positions are left out: more than any server gives between two backups.
const POSITIONS_SKIPPED: i64 = 1 << 32;
/// A scope that nobody reads, for the row that keeps the newest position.
const NOBODYS_ROOM: &str = "!restored";

/// Writes a copy of the SQLite database to a new file, as it is at one moment; free pages are not in it. Writing goes on meanwhile.
/// Whether there is one: PostgreSQL has programs of its own for it.
///
/// # Errors
/// What the database says.
pub async fn copy_database(options: &StoreOptions, to: &Path) -> Result<bool, StoreError> {
    let engine = options.engine()?;
    if engine != Engine::Sqlite {
        return Ok(false);
    }
    let connection = connect::writing(options, engine).await?;
    let to = Value::from(to.display().to_string());
    let copy = Statement::from_sql_and_values(DbBackend::Sqlite, COPY, [to]);
    let copied = connection.execute_raw(copy).await;
    let closed = connection.close().await;
    copied?;
    closed?;
    Ok(true)
}

/// Lets a database that came from a backup go on: positions that clients may have seen are left out, and one-time keys that may have
/// been given out are forgotten, so that devices upload new ones.
#[derive(Clone, Copy, Debug)]
pub struct GoOnFromBackup;

impl Change for GoOnFromBackup {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        one_time_keys::Entity::delete_many()
            .exec(tx.connection())
            .await?;
        tx.skip(POSITIONS_SKIPPED);
        let nobody =
            <&RoomId>::try_from(NOBODYS_ROOM).map_err(|_| StoreError::corrupt("log", "scope"))?;
        tx.append(Scope::Room(nobody), LogKind::Expired, None);
        Ok(())
    }
}
