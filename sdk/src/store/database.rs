//! The store as an encrypted SQLite file.
//!
//! Three files: the database, `….key` with its encrypted key, `….lock` that keeps other processes out. Names are keyed hashes and
//! values are encrypted, so that the file tells how many rows of which kind there are and how long they are, and no more.
//!
//! Invariant: one connection, `synchronous=FULL`, and one transaction for each [`Batch`].

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
};

use passeur_migrations::sdk::Migrator;
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr};
use sea_orm_migration::MigratorTrait;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use self::{
    cipher::{Key, StoreCipher},
    key_file::{io, private},
};
use super::{
    AccountBinding, Batch, InboxItem, RoomEntry, SendQueueItem, Store, StoreError, StoreFuture,
};
use crate::{
    clock::Rng,
    crypto::{Record, SecretBytes},
};

mod cipher;
mod entry;
mod key_file;
mod queue_item;
mod rows;
#[cfg(test)]
mod tests;

pub use self::key_file::StoreKey;

/// A store in an encrypted SQLite file.
pub struct DatabaseStore {
    path: PathBuf,
    state: Mutex<State>,
}

/// Whether the files are open.
enum State {
    Open(Box<Open>),
    Closed,
    Wiped,
}

impl State {
    fn open_mut(&mut self) -> Option<&mut Open> {
        match self {
            Self::Open(open) => Some(open),
            Self::Closed | Self::Wiped => None,
        }
    }
}

/// What an open store holds.
struct Open {
    connection: DatabaseConnection,
    cipher: StoreCipher,
    /// What the key file holds.
    data_key: Key,
    rng: Arc<dyn Rng>,
    /// Locked as long as it lives.
    _lock: File,
}

impl fmt::Debug for DatabaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseStore").finish_non_exhaustive()
    }
}

impl DatabaseStore {
    /// Opens the store at `path`, or makes a new one there. The folder must exist.
    ///
    /// # Errors
    /// [`StoreError::WrongPassphrase`], [`StoreError::Damaged`], [`StoreError::KeyMissing`], [`StoreError::NewerSchema`],
    /// [`StoreError::Locked`], or what the file system or the database says.
    pub async fn open(path: &Path, key: StoreKey, rng: Arc<dyn Rng>) -> Result<Self, StoreError> {
        let lock = lock(&with_suffix(path, "lock"))?;
        let (key_path, database_path) = (with_suffix(path, "key"), path.to_owned());
        let key_rng = Arc::clone(&rng);
        // Deriving a key keeps a core busy for a while: not on a thread that serves other tasks.
        let data_key = tokio::task::spawn_blocking(move || {
            if key_path.exists() {
                key_file::read(&key_path, &key)
            } else if database_path.metadata().is_ok_and(|file| file.len() > 0) {
                Err(StoreError::KeyMissing)
            } else {
                key_file::create(&key_path, &key, key_rng.as_ref())
            }
        });
        let data_key = data_key.await.map_err(|_| StoreError::KeyDerivation)??;
        let connection = connect(path).await?;
        let open = Open {
            connection,
            cipher: StoreCipher::new(&data_key),
            data_key,
            rng,
            _lock: lock,
        };
        let store = Self {
            path: path.to_owned(),
            state: Mutex::new(State::Open(Box::new(open))),
        };
        // Reading the account shows at once whether the key and the file belong together.
        store.account().await?;
        Ok(store)
    }

    /// Replaces the passphrase or key that opens the store. The data is not encrypted anew: whoever had the old passphrase *and* a copy of
    /// the old key file can still read it.
    ///
    /// # Errors
    /// [`StoreError::Wiped`], or what the file system says; the old passphrase opens the store then.
    pub async fn change_key(&self, key: StoreKey) -> Result<(), StoreError> {
        let opened = self.opened().await?;
        let (data_key, rng) = (opened.data_key.clone(), Arc::clone(&opened.rng));
        let path = with_suffix(&self.path, "key");
        let written = tokio::task::spawn_blocking(move || {
            key_file::write(&path, &data_key, &key, rng.as_ref())
        });
        written.await.map_err(|_| StoreError::KeyDerivation)?
    }

    /// The open store, for one step: there is one connection, so steps wait for each other here rather than in the pool.
    async fn opened(&self) -> Result<MappedMutexGuard<'_, Open>, StoreError> {
        MutexGuard::try_map(self.state.lock().await, State::open_mut).map_err(|state| {
            if matches!(*state, State::Closed) {
                StoreError::Closed
            } else {
                StoreError::Wiped
            }
        })
    }

    async fn close_files(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        if !matches!(*state, State::Open(_)) {
            return Ok(());
        }
        if let State::Open(open) = std::mem::replace(&mut *state, State::Closed) {
            // The lock is let go of only after the database has written its last byte.
            open.connection.close_by_ref().await.map_err(database)?;
        }
        Ok(())
    }

    async fn wipe_files(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        let State::Open(open) = std::mem::replace(&mut *state, State::Wiped) else {
            return Ok(());
        };
        key_file::destroy(&with_suffix(&self.path, "key"), open.rng.as_ref())?;
        // The key is gone, so whether the database closes in good order does not matter any more.
        let _ = open.connection.close_by_ref().await;
        for suffix in ["-wal", "-shm", ""] {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            match std::fs::remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(error)),
            }
        }
        Ok(())
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".");
    path.push(suffix);
    path.into()
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

async fn connect(path: &Path) -> Result<DatabaseConnection, StoreError> {
    // Made here, so that nobody else can ever read it.
    drop(
        private(OpenOptions::new().write(true).create(true).truncate(false))
            .open(path)
            .map_err(io)?,
    );
    let file = path.to_owned();
    let mut options = ConnectOptions::new("sqlite://store");
    options
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false);
    options.sqlx_logging(false);
    options.map_sqlx_sqlite_opts(move |sqlite| {
        sqlite
            .filename(&file)
            .pragma("journal_mode", "WAL")
            .pragma("synchronous", "FULL")
            .pragma("secure_delete", "ON")
            .pragma("temp_store", "MEMORY")
    });
    let connection = Database::connect(options).await.map_err(database)?;
    migrate(&connection).await?;
    Ok(connection)
}

async fn migrate(connection: &DatabaseConnection) -> Result<(), StoreError> {
    Migrator::install(connection).await.map_err(database)?;
    let applied = Migrator::get_migration_models(connection)
        .await
        .map_err(database)?;
    let known: Vec<String> = Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect();
    if applied
        .iter()
        .any(|migration| !known.contains(&migration.version))
    {
        return Err(StoreError::NewerSchema);
    }
    Migrator::up(connection, None).await.map_err(database)
}

/// SQLite's codes for a file that is not a database, or not a whole one: `SQLITE_CORRUPT` and `SQLITE_NOTADB`.
const SQLITE_CORRUPT: [u32; 2] = [11, 26];

#[expect(clippy::needless_pass_by_value, reason = "for use with map_err")]
fn database(error: DbErr) -> StoreError {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = &error
    else {
        return StoreError::Database;
    };
    let code = error.as_database_error().and_then(|error| error.code());
    // The lower byte is the code itself; what stands above says more of it, such as that an index is damaged.
    let code = code.and_then(|code| code.parse::<u32>().ok());
    if code.is_some_and(|code| SQLITE_CORRUPT.contains(&(code & 0xff))) {
        return StoreError::Damaged {
            what: "the database",
        };
    }
    StoreError::Database
}

impl Store for DatabaseStore {
    fn account(&self) -> StoreFuture<'_, Option<AccountBinding>> {
        Box::pin(async { self.opened().await?.account().await })
    }

    fn bind<'a>(&'a self, account: &'a AccountBinding) -> StoreFuture<'a, ()> {
        Box::pin(async move { self.opened().await?.bind(account).await })
    }

    fn records(&self) -> StoreFuture<'_, Vec<Record>> {
        Box::pin(async { self.opened().await?.records().await })
    }

    fn commit(&self, batch: Batch) -> StoreFuture<'_, ()> {
        Box::pin(async { self.opened().await?.commit(batch).await })
    }

    fn value<'a>(&'a self, name: &'a str) -> StoreFuture<'a, Option<SecretBytes>> {
        Box::pin(async move { self.opened().await?.value(name).await })
    }

    fn send_queue(&self) -> StoreFuture<'_, Vec<SendQueueItem>> {
        Box::pin(async { self.opened().await?.send_queue().await })
    }

    fn rooms(&self) -> StoreFuture<'_, Vec<RoomEntry>> {
        Box::pin(async { self.opened().await?.rooms().await })
    }

    fn inbox(&self) -> StoreFuture<'_, Vec<InboxItem>> {
        Box::pin(async { self.opened().await?.inbox().await })
    }

    fn scrub(&self) -> StoreFuture<'_, ()> {
        Box::pin(async { self.opened().await?.scrub().await })
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.close_files())
    }

    fn wipe(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.wipe_files())
    }
}
