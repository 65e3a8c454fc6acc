//! Everything that is on disk: the database, its one writer and its one log.
//!
//! Invariant: SQL stands only in this folder, and only [`writer`] opens a write transaction. An
//! answer to a write means that it is on disk. Lookups return `Option`; a refusal is an output of
//! a change, never a failing statement.
//!
//! How to add a table: a migration in the crate `passeur-migrations`, an entity in `entity/`, and
//! a file of plain verbs here. Reads are methods on [`Store`] that use [`Store::reader`]; writes
//! are types that implement [`Change`] and are handed to [`Store::commit`].

use std::sync::{Arc, atomic::AtomicU64};

use quick_cache::sync::Cache;
use ruma::RoomVersionId;
use sea_orm::{EntityTrait, QueryOrder, QuerySelect};

mod account_data;
mod accounts;
mod aliases;
mod append;
mod backups;
mod bounded;
mod by_time;
mod claims;
mod connect;
pub(crate) mod connection;
mod cross_signing;
mod dehydrated_devices;
mod destinations;
mod device_keys;
mod devices;
pub mod entity;
mod error;
mod events;
mod expiry;
mod heads;
mod ignored_users;
mod inbound_transactions;
mod log;
mod login_tokens;
mod media;
mod one_time_keys;
mod owed;
mod profiles;
mod published_rooms;
mod push_rules;
mod pushers;
mod receipts;
mod registration_tokens;
mod relations;
mod remote_devices;
mod reports;
mod rescinded;
mod restored;
mod rooms;
mod scope;
mod server_keys;
mod serving;
mod sessions;
mod shred;
mod state;
mod stays;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod threads;
mod timeline;
mod to_device;
mod tx;
mod writer;

pub use self::{
    account_data::{CreateFilter, DeletePusher, SetAccountData, SetPusher, SetTag},
    accounts::{
        Account, AccountState, CreateAccount, Creation, Deactivate, SetLocked, SetPassword,
        SetSuspended,
    },
    aliases::{DeleteAlias, MoveAliases, NewAlias},
    append::{Moved, NewEvent, NewMembership, NewTransaction, OnDisk, RoomAppend},
    backups::{
        Backup, BackupEdit, BackupEdited, BackupKey, BackupUpdate, CreateBackup, DeleteBackup,
        EditBackup, KeySelection, UpdateBackup,
    },
    claims::{ClaimedFrom, ClaimedKey},
    connect::{Engine, StoreOptions},
    cross_signing::{
        AddSignatures, ForeignSignature, NewCrossSigningKey, SetCrossSigningKeys, SignedObject,
    },
    dehydrated_devices::{DehydratedDevice, Dehydration, PutDehydratedDevice},
    destinations::{DestinationRow, SaveDestination, Stay},
    device_keys::{CrossSigningKey, KeyUsage, UserKeys},
    devices::{DeleteDevices, Device, RenameDevice},
    error::StoreError,
    events::{Body, Direction, Event, EventStatus},
    expiry::{
        Backlog, DestroyExpired, Destroyed, ExpiryMeter, NewDeadline, OwedRedaction, PolicyChange,
        RecordKeyStore, SaveExpiryClock, SettleRedactions, ShortenDeadlines,
    },
    heads::Heads,
    inbound_transactions::{ReceiveToDevice, TakeTransaction},
    log::{LogEnd, LogKind, LogRow},
    login_tokens::{CreateLoginToken, TakeLoginToken},
    media::{KeepMedia, MediaRow, MediaUsage, ReserveMedia},
    one_time_keys::{KeyCounts, KeyUpload, NewKey, UploadKeys},
    owed::StoredReceipt,
    profiles::{CreateOpenidToken, SetProfileField},
    published_rooms::PublishRoom,
    push_rules::{EditPushRules, PushRuleEdit, PushRuleError},
    pushers::{MovePusher, PusherRow},
    receipts::{READ, READ_PRIVATE, ReceiptNote, ReceiptRow, RecordFullyRead, RecordReceipt},
    registration_tokens::{CreateRegistrationToken, RegistrationToken, RevokeRegistrationToken},
    relations::REDACTS,
    remote_devices::{ChangeRemoteDevices, RemoteChange, RemoteDeviceList, StoreRemoteDevices},
    reports::{KeepReport, RemoveReport, Report},
    restored::{GoOnFromBackup, copy_database},
    rooms::{ForgetRoom, ForgetTransactions, Membership, MembershipRow, RoomRow},
    scope::Scope,
    server_keys::{KeyDocument, StoreServerKeys, StoredKey},
    serving::Claim,
    sessions::{NewSession, SessionRow, StartSession},
    shred::{FileKeyStore, KeyStore, KeyStoreError, Saving, ShredKeys, count_buckets, is_key_file},
    state::{RoomStateMap, StateChange, StateGroup, StateKey, StatePath, apply, difference},
    threads::ThreadAnswer,
    timeline::{AccountDatum, EventTransaction, RelationRow},
    to_device::{
        DeleteEdus, DeleteToDevice, NewEdu, NewToDevice, PurgeToDevice, SendToDevice,
        ToDeviceMessage, ToDeviceTransaction, queue_edu,
    },
    tx::Tx,
    writer::{Change, Committed, Look, Published},
};
pub(crate) use self::{
    bounded::{CacheShare, bounded},
    devices::TouchDevice,
    sessions::{ConfirmTokens, RefreshTokens, Refreshed, day_of},
};

/// How many rooms' versions are remembered.
const ROOM_VERSIONS_CACHED_MAX: usize = 50_000;

/// The database of one server: a pool for reading, one writer, and what was committed last.
///
/// Cheap to share behind an `Arc`. Reading never waits for writing (WAL on SQLite, MVCC on
/// PostgreSQL).
pub struct Store {
    reader: connection::Connection,
    writer: writer::Writer,
    heads: Arc<Heads>,
    engine: Engine,
    /// What all caches may take together.
    cache_bytes: u64,
    event_cache: events::EventCache,
    /// How often events were forgotten because their rows changed.
    events_forgotten: AtomicU64,
    expiry: expiry::ExpiryState,
    shredder: Arc<shred::Shredder>,
    room_versions: Cache<String, RoomVersionId>,
    state_caches: state::StateCaches,
    key_cache: Arc<device_keys::KeyCache>,
    count_cache: Arc<one_time_keys::CountCache>,
    rules_cache: Arc<push_rules::RulesCache>,
    ignored_cache: Arc<ignored_users::IgnoredCache>,
    lonely_cache: relations::LonelyCache,
    /// How often pushers were set by this process.
    pushers_set: AtomicU64,
    transaction_cache: timeline::TransactionCache,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database, brings its tables up to date and starts the writer.
    ///
    /// # Errors
    /// [`StoreError::Driver`] if the database cannot be reached, opened or migrated.
    pub async fn open(options: &StoreOptions) -> Result<Arc<Self>, StoreError> {
        let engine = options.engine()?;
        let write = connection::settle(connect::writing(options, engine)).await?;
        connection::settle(connect::migrate(&write)).await?;
        let patience = connect::patience(options, engine);
        let write = connection::Connection::new(write, patience);
        let reader = connection::settle(connect::reading(options, engine)).await?;
        let reader = connection::Connection::new(reader, patience);
        let recorded = expiry::recorded_key_store(&reader).await?;
        let shredder = shred::Shredder::open(&options.keys, recorded.as_deref()).await?;
        let expiry = expiry::ExpiryState::load(&reader, shredder.destroyed_ms()).await?;
        let unrecorded = shredder.name().filter(|_| recorded.is_none());
        let shredder = Arc::new(shredder);
        let heads = Arc::new(Heads::new(newest_position(&reader).await?));
        let share = |cache: CacheShare| cache.of(options.cache_bytes);
        let key_cache = Arc::new(device_keys::KeyCache::new(share(CacheShare::Keys)));
        let count_cache = Arc::new(one_time_keys::CountCache::new());
        let rules_cache = Arc::new(push_rules::RulesCache::new());
        let (keys, counts) = (Arc::clone(&key_cache), Arc::clone(&count_cache));
        let rules = Arc::clone(&rules_cache);
        let ignored_cache = Arc::new(ignored_users::IgnoredCache::new());
        let ignored = Arc::clone(&ignored_cache);
        heads.on_commit(Box::new(move |published| {
            keys.on_commit(published);
            counts.on_commit(published);
            rules.on_commit(published);
            ignored.on_commit(published);
        }));
        let shreds = Arc::clone(&shredder);
        let writer =
            writer::Writer::start(write, options.clone(), engine, Arc::clone(&heads), shreds);
        if unrecorded.is_some() {
            writer.commit(RecordKeyStore(unrecorded)).await?;
        }
        Ok(Arc::new(Self {
            reader,
            writer,
            heads,
            engine,
            cache_bytes: options.cache_bytes,
            event_cache: events::cache(share(CacheShare::Events)),
            events_forgotten: AtomicU64::new(0),
            expiry,
            shredder,
            room_versions: Cache::new(ROOM_VERSIONS_CACHED_MAX),
            state_caches: state::StateCaches::new(share(CacheShare::States)),
            key_cache,
            count_cache,
            rules_cache,
            ignored_cache,
            lonely_cache: relations::LonelyCache::new(),
            pushers_set: AtomicU64::new(0),
            transaction_cache: timeline::transaction_cache(),
        }))
    }

    /// The pool for reads. Statements that write are refused here by the database itself on SQLite.
    pub(crate) fn reader(&self) -> &connection::Connection {
        &self.reader
    }

    /// What one cache may take, in bytes.
    pub(crate) fn cache_share(&self, cache: CacheShare) -> u64 {
        cache.of(self.cache_bytes)
    }

    /// How many groups of buckets have a key now; none if nothing is sealed here.
    pub fn expiry_buckets(&self) -> Option<usize> {
        self.shredder.buckets()
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
    /// case nothing of this change is stored; but see [`StoreError::Unconfirmed`].
    pub async fn commit<C: Change>(&self, change: C) -> Result<Committed<C::Output>, StoreError> {
        self.writer.commit(change).await
    }

    /// Calls `hook` after each commit with what was appended to the log, in the order of commits.
    ///
    /// The hook runs on the writer's task: it must be short and must not block.
    pub fn on_commit(&self, hook: impl Fn(&Published) + Send + Sync + 'static) {
        self.heads.on_commit(Box::new(hook));
    }

    /// Empties SQLite's write-ahead log into the database, so that no file holds content that was
    /// deleted. Answers whether it could: not while somebody reads. PostgreSQL has no such file of
    /// ours to empty.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn checkpoint(&self) -> Result<bool, StoreError> {
        self.writer.checkpoint().await
    }

    /// Finishes what was handed in, then closes the database. Later commits are refused.
    pub async fn close(&self) {
        self.writer.close().await;
        // Closing a pool by reference leaves its clones closed as well.
        let _ = self.reader.close_by_ref().await;
    }
}

/// The newest position in the log; 0 in an empty one.
async fn newest_position(reader: &connection::Connection) -> Result<i64, StoreError> {
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
