//! Crypto-shredding: what expires is stored under a key of its own, and the keys elsewhere, where no backup of the database reaches.
//!
//! Invariant: nothing under a key is acknowledged before the key is on disk ([`Shredder::save`] runs before each commit), and what is
//! destroyed is destroyed in the key store before the database forgets it. A key that was destroyed is never made again: keys come from
//! random roots. Where no key store is configured nothing is sealed.
//!
//! No part of the specification; the design is in `docs/expiry.md`.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chacha20poly1305::{
    ChaCha20Poly1305, Key as CipherKey, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use passeur_protocol::expiry::Class;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use self::file::{FileKeyStore, is_key_file};
pub(crate) use self::keys::Slot;
use self::{
    keys::{ID_BYTES, Keys},
    tree::{KEY_BYTES, Key, Leaf},
};
use super::StoreError;
use crate::clock::Rng;

mod file;
mod keys;
mod tree;

/// What sealed bytes begin with; JSON begins otherwise.
const SEALED: u8 = 1;
/// Length of a nonce, in bytes.
const NONCE_BYTES: usize = 12;

/// A save that is under way.
pub type Saving = Pin<Box<dyn Future<Output = Result<(), KeyStoreError>> + Send>>;

/// Where the keys of expiring content are. The default is [`FileKeyStore`]; a store that several servers share can stand in its place.
pub trait KeyStore: std::fmt::Debug + Send + Sync + 'static {
    /// What a person calls the place.
    fn place(&self) -> String;

    /// What was saved last; none if nothing ever was. It changes nothing.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    fn load(&self) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError>;

    /// As [`KeyStore::load`], and from now on nobody else may save, as long as this value lives.
    ///
    /// # Errors
    /// [`KeyStoreError`], also if somebody else may.
    fn hold(&self) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError>;

    /// Saves: once it answers, `keys` are what is loaded, whatever happens; and if `erase`, nothing that was saved before is left.
    fn save(&self, keys: Zeroizing<Vec<u8>>, erase: bool) -> Saving;
}

/// Why the keys of expiring content cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// There are none, though the database has content under them.
    #[error(
        "{0}: the keys of what expires are missing. Bring them back. If they are lost for ever, `passeur expiry forget-keys` gives up what is under them"
    )]
    Missing(String),
    /// They are no keys.
    #[error("{}: the keys of what expires are damaged, in both files. If they are lost for ever, move them away, and run `passeur expiry forget-keys`, which gives up what is under them", .0.display())]
    Damaged(PathBuf),
    /// They are of another database.
    #[error(
        "{0}: these are the keys of another database: say in expiry.key_store where those of this one are"
    )]
    Foreign(String),
    /// There is content under keys, and no key store is configured.
    #[error(
        "expiry.key_store is not set, but the database has content whose keys are in a key store: set it again"
    )]
    NotConfigured,
    /// Another server uses them.
    #[error("{}: another server uses these keys", .0.display())]
    Taken(PathBuf),
    /// Others than the owner have access.
    #[error("{} may be read by others (mode {mode:04o}): chmod 600 it", .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// They cannot be read or written.
    #[error("the keys of what expires: {}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The process ends, or a thread of it failed.
    #[error("the keys of what expires could not be saved: interrupted")]
    Interrupted,
}

impl KeyStoreError {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// What a store does with content that expires.
#[derive(Clone, Debug, Default)]
pub enum ShredKeys {
    /// Nothing is sealed, and what is sealed is not read: for commands that have nothing to do with content.
    #[default]
    Unread,
    /// There is no key store, and nothing may be sealed.
    Absent,
    /// Content is sealed under keys that are kept there.
    Held {
        /// The key store.
        store: Arc<dyn KeyStore>,
        /// Where new keys come from.
        rng: Arc<dyn Rng>,
    },
}

/// Something that is to be destroyed with the next commit.
#[derive(Clone, Debug)]
pub(crate) enum Kill {
    /// One key, before its bucket ends.
    One(Slot, Leaf),
    /// All buckets that end at this time or before, in ms since the epoch.
    Through(u64),
}

/// What is stored of something that expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seal {
    /// There is no key store: it is stored as it is.
    Plain,
    /// Its key was destroyed: nothing of it may be stored.
    Destroyed,
    /// It was sealed.
    Sealed {
        /// To be stored.
        bytes: Vec<u8>,
        /// When the key dies, in ms since the epoch.
        until_ms: i64,
    },
}

/// Seals and opens what expires.
pub(crate) struct Shredder {
    held: Option<Held>,
}

struct Held {
    store: Arc<dyn KeyStore>,
    rng: Arc<dyn Rng>,
    state: Mutex<State>,
}

struct State {
    keys: Keys,
    /// How often keys were added, and how often when they were saved last.
    added: u64,
    saved: u64,
    /// Whether keys were destroyed that may still be saved somewhere.
    is_dirty: bool,
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of a leaf; a slot that is not there begins. None if it was destroyed.
    fn key_to_seal(&self, slot: Slot, leaf: Leaf) -> Option<Key> {
        let mut state = self.state();
        if !state.keys.has(slot) {
            let mut root = Zeroizing::new([0; KEY_BYTES]);
            self.rng.fill(root.as_mut());
            state.keys.begin(slot, root);
            state.added += 1;
        }
        state.keys.key(slot, leaf)
    }
}

impl Shredder {
    /// Loads what `options` say, for a database that knows its keys by the name `recorded`.
    ///
    /// # Errors
    /// [`KeyStoreError`] if these are not the keys of this database.
    pub(super) async fn open(
        options: &ShredKeys,
        recorded: Option<&str>,
    ) -> Result<Self, KeyStoreError> {
        let (store, rng) = match options {
            ShredKeys::Unread => return Ok(Self { held: None }),
            ShredKeys::Absent if recorded.is_some() => return Err(KeyStoreError::NotConfigured),
            ShredKeys::Absent => return Ok(Self { held: None }),
            ShredKeys::Held { store, rng } => (Arc::clone(store), Arc::clone(rng)),
        };
        let keys = match (store.hold()?, recorded) {
            (None, Some(_)) => return Err(KeyStoreError::Missing(store.place())),
            (None, None) => {
                let mut id = [0; ID_BYTES];
                rng.fill(&mut id);
                Keys::new(id)
            }
            (Some(bytes), recorded) => {
                let foreign = || KeyStoreError::Foreign(store.place());
                let keys = Keys::decode(&bytes).ok_or_else(foreign)?;
                let is_ours = match recorded {
                    Some(name) => name == name_of(&keys.id),
                    // Made just before the process was killed.
                    None => keys.is_unused(),
                };
                if !is_ours {
                    return Err(foreign());
                }
                keys
            }
        };
        // What a crash left in one of two copies goes now.
        store.save(keys.encode(), true).await?;
        let state = Mutex::new(State {
            keys,
            added: 0,
            saved: 0,
            is_dirty: false,
        });
        Ok(Self {
            held: Some(Held { store, rng, state }),
        })
    }

    /// By which name the database knows its keys.
    pub(super) fn name(&self) -> Option<String> {
        Some(name_of(&self.held.as_ref()?.state().keys.id))
    }

    /// Up to when buckets were destroyed, in ms since the epoch: this time has been seen, whatever the database says.
    pub(super) fn destroyed_ms(&self) -> u64 {
        let held = self.held.as_ref();
        held.map_or(0, |held| held.state().keys.destroyed_ms)
    }

    /// How many groups of buckets have a key now; none if nothing is sealed here.
    pub(super) fn buckets(&self) -> Option<usize> {
        Some(self.held.as_ref()?.state().keys.len())
    }

    /// Seals something of a room whose deadline is in `slot`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is longer than can be encrypted.
    pub(crate) fn seal(
        &self,
        slot: Slot,
        room: &str,
        item: &str,
        body: &[u8],
    ) -> Result<Seal, StoreError> {
        let Some(held) = &self.held else {
            return Ok(Seal::Plain);
        };
        let Some(key) = held.key_to_seal(slot, Leaf::of(room, item)) else {
            return Ok(Seal::Destroyed);
        };
        let key = own(&key, room, item);
        // The key is for this one thing, and the nonce is made of what is sealed: no two texts ever share both.
        let mut hash = Sha256::new();
        hash.update(key.as_ref());
        hash.update(body);
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&hash.finalize()[..NONCE_BYTES]);
        let head = head(slot);
        let sealed = ChaCha20Poly1305::new(&CipherKey::from(*key))
            .encrypt(
                &Nonce::from(nonce),
                Payload {
                    msg: body,
                    aad: &head,
                },
            )
            .map_err(|_| StoreError::corrupt("event_bodies", "body"))?;
        Ok(Seal::Sealed {
            bytes: [&head, &nonce[..], &sealed].concat(),
            until_ms: i64::try_from(slot.ends_at_ms).unwrap_or(i64::MAX),
        })
    }

    /// What was stored, as it was before it was sealed: none if its key is destroyed.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if there is a key and it does not fit.
    pub(crate) fn open_stored(
        &self,
        room: &str,
        item: &str,
        stored: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let corrupt = || StoreError::corrupt("event_bodies", "body");
        if stored.first() != Some(&SEALED) {
            return Ok(Some(stored));
        }
        let slot = slot_of(&stored).ok_or_else(corrupt)?;
        let Some(held) = &self.held else {
            return Ok(None);
        };
        let Some(key) = held.state().keys.key(slot, Leaf::of(room, item)) else {
            return Ok(None);
        };
        let head = head(slot);
        let rest = stored.get(head.len()..).unwrap_or_default();
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(corrupt)?;
        ChaCha20Poly1305::new(&CipherKey::from(*own(&key, room, item)))
            .decrypt(
                &Nonce::from(*nonce),
                Payload {
                    msg: sealed,
                    aad: &head,
                },
            )
            .map(Some)
            .map_err(|_| corrupt())
    }

    /// What destroys the key of something that was sealed.
    pub(crate) fn kill(room: &str, item: &str, stored: &[u8]) -> Option<Kill> {
        Some(Kill::One(slot_of(stored)?, Leaf::of(room, item)))
    }

    /// Destroys keys, and saves what is new: before the commit that rests on it. If it fails, what was to be destroyed is still
    /// unknown here: the next save tries again.
    ///
    /// # Errors
    /// [`StoreError::KeyStore`]; the commit must not be.
    pub(super) async fn save(&self, kills: &[Kill]) -> Result<(), StoreError> {
        let Some(held) = &self.held else {
            return Ok(());
        };
        let (keys, erase, added) = {
            let mut state = held.state();
            for kill in kills {
                state.is_dirty |= match kill {
                    Kill::One(slot, leaf) => state.keys.destroy(*slot, *leaf),
                    Kill::Through(now_ms) => state.keys.destroy_through(*now_ms),
                };
            }
            if state.added == state.saved && !state.is_dirty {
                return Ok(());
            }
            (state.keys.encode(), state.is_dirty, state.added)
        };
        let saved = held.store.save(keys, erase).await;
        saved.map_err(|error| StoreError::KeyStore(Arc::new(error)))?;
        let mut state = held.state();
        state.saved = added;
        // Only the writer destroys, and it was waiting for this.
        state.is_dirty &= !erase;
        Ok(())
    }
}

/// How many groups of buckets have a key among what a key store keeps; none if that is something else.
#[must_use]
pub fn count_buckets(keys: &[u8]) -> Option<usize> {
    Keys::decode(keys).map(|keys| keys.len())
}

/// The bucket of something of a class that is destroyed at a time, both in ms, and when its key dies.
pub(crate) fn slot(class_ms: i64, destroy_at: i64) -> Slot {
    let class = Class::round_down(u64::try_from(class_ms).unwrap_or(0));
    let step_ms = class.bucket_step_ms();
    let destroy_at = u64::try_from(destroy_at).unwrap_or(0);
    Slot {
        ends_at_ms: destroy_at.div_ceil(step_ms).saturating_mul(step_ms),
        class_ms: class.ttl_ms(),
    }
}

/// The key of one thing alone, whatever else has its leaf.
fn own(leaf: &Key, room: &str, item: &str) -> Key {
    let mut hash = Sha256::new();
    hash.update(leaf.as_ref());
    hash.update((room.len() as u64).to_be_bytes());
    hash.update(room);
    hash.update(item);
    Zeroizing::new(hash.finalize().into())
}

/// What stands before a sealed text, and is sealed with it.
fn head(slot: Slot) -> [u8; 17] {
    let mut head = [SEALED; 17];
    head[1..9].copy_from_slice(&slot.ends_at_ms.to_be_bytes());
    head[9..].copy_from_slice(&slot.class_ms.to_be_bytes());
    head
}

fn slot_of(stored: &[u8]) -> Option<Slot> {
    let rest = stored.strip_prefix(&[SEALED])?;
    let (ends_at_ms, rest) = rest.split_first_chunk()?;
    let (class_ms, _) = rest.split_first_chunk()?;
    Some(Slot {
        ends_at_ms: u64::from_be_bytes(*ends_at_ms),
        class_ms: u64::from_be_bytes(*class_ms),
    })
}

/// A name as the database has it.
fn name_of(id: &[u8; ID_BYTES]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
