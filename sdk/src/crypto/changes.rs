//! What a step of the crypto machine wants written, as plain records that any store can keep.
//!
//! Invariant: the machine's whole state is the set of its records. Whoever commits every [`Changes`] in the order in which they
//! were returned, each before acting on what came with it, can kill the process at any instruction and load the machine again
//! from the store without having lost a key or having used one twice.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    error::CryptoError,
    secret::{SecretBytes, to_json},
};

/// Which kind of thing a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The device's own account: identity keys, one-time keys.
    Account,
    /// The devices, pins and cross-signing keys of one user.
    User,
    /// The Olm sessions with one device, by its Curve25519 key.
    OlmSessions,
    /// A Megolm session that decrypts.
    Inbound,
    /// A Megolm session that encrypts, by room and lifetime class.
    Outbound,
    /// Who was given such a session's key, or told that they will not be.
    Shares,
    /// One message index that was already used, by session and index.
    Replay,
    /// How far a session has been destroyed: nothing below may ever be imported again.
    Floor,
    /// What is known of a room: that it is encrypted, who was accepted as a member.
    Room,
    /// A to-device message that still has to be sent.
    Outgoing,
    /// Our own private cross-signing keys.
    CrossSigning,
    /// Signatures that the server does not have yet.
    Signatures,
    /// The key backup in use.
    Backup,
    /// Secrets that we asked our other devices for.
    SecretRequests,
    /// Room keys that we asked our other devices for, by session id.
    KeyRequests,
    /// Why a session's key was not given to us.
    Withheld,
    /// Counters of the machine itself.
    Meta,
    /// When a message dies, by event.
    Deadline,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 18] = [
        Self::Account,
        Self::User,
        Self::OlmSessions,
        Self::Inbound,
        Self::Outbound,
        Self::Shares,
        Self::Replay,
        Self::Floor,
        Self::Room,
        Self::Outgoing,
        Self::CrossSigning,
        Self::Signatures,
        Self::Backup,
        Self::SecretRequests,
        Self::KeyRequests,
        Self::Withheld,
        Self::Meta,
        Self::Deadline,
    ];

    /// The table's name, as a store may use it to bind a value to its place.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::User => "user",
            Self::OlmSessions => "olm_sessions",
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Shares => "shares",
            Self::Replay => "replay",
            Self::Floor => "floor",
            Self::Room => "room",
            Self::Outgoing => "outgoing",
            Self::CrossSigning => "cross_signing",
            Self::Signatures => "signatures",
            Self::Backup => "backup",
            Self::SecretRequests => "secret_requests",
            Self::KeyRequests => "key_requests",
            Self::Withheld => "withheld",
            Self::Meta => "meta",
            Self::Deadline => "deadline",
        }
    }

    /// The table of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

/// One row of the machine's state. The value is a secret; the key reveals ids and should be hashed where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The kind of thing.
    pub table: Table,
    /// Its name within the table.
    pub key: String,
    /// Its serialised value.
    pub value: SecretBytes,
}

/// Records to write and to delete, in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "changes that are not committed are lost keys"]
pub struct Changes {
    records: BTreeMap<(Table, String), Option<SecretBytes>>,
}

impl Changes {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds later changes to these: where both speak of one record, the later wins.
    pub fn extend(&mut self, later: Changes) {
        self.records.extend(later.records);
    }

    /// Every record to write (`Some`) or delete (`None`), one entry for each.
    pub fn iter(&self) -> impl Iterator<Item = (Table, &str, Option<&SecretBytes>)> {
        self.records
            .iter()
            .map(|((table, key), value)| (*table, key.as_str(), value.as_ref()))
    }

    pub(crate) fn put<T: Serialize>(
        &mut self,
        table: Table,
        key: &str,
        value: &T,
    ) -> Result<(), CryptoError> {
        let bytes = to_json(value).map_err(|_| CryptoError::Encode { table })?;
        self.records.insert((table, key.to_owned()), Some(bytes));
        Ok(())
    }

    pub(crate) fn delete(&mut self, table: Table, key: &str) {
        self.records.insert((table, key.to_owned()), None);
    }
}

/// A result that must not be acted upon before the changes that came with it are on disk.
///
/// ```text
/// let (changes, requests) = machine.share_room_key(…)?.into_parts();
/// store.commit(Batch::from(changes)).await?;
/// // only now send the requests
/// ```
///
/// If the commit fails, drop the machine and load it again from the store: it has gone ahead of what is on disk.
#[derive(Debug)]
#[must_use = "commit the changes, then act on the value"]
pub struct Staged<T> {
    changes: Changes,
    value: T,
}

impl<T> Staged<T> {
    pub(crate) const fn new(changes: Changes, value: T) -> Self {
        Self { changes, value }
    }

    /// The changes to commit first, and the value to act on afterwards. Several steps may be committed together: extend the
    /// first step's changes with those of the later ones.
    pub fn into_parts(self) -> (Changes, T) {
        (self.changes, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_change_of_a_record_wins() {
        let mut first = Changes::new();
        first.put(Table::Meta, "a", &1).unwrap();
        first.put(Table::Meta, "b", &1).unwrap();
        let mut later = Changes::new();
        later.delete(Table::Meta, "a");
        first.extend(later);
        let seen: Vec<_> = first
            .iter()
            .map(|(_, key, value)| (key.to_owned(), value.is_some()))
            .collect();
        assert_eq!(seen, [("a".to_owned(), false), ("b".to_owned(), true)]);
    }

    #[test]
    fn names_of_tables_are_distinct() {
        for table in Table::ALL {
            assert_eq!(Table::from_name(table.name()), Some(table));
        }
    }
}
