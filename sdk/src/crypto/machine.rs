//! The machine: everything a device knows, in memory, and the way back to records.
//!
//! Invariant: memory never differs from the store's records plus the changes not yet handed out; what is only in memory (requests
//! in flight, claims that failed) can be forgotten without harm.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ruma::{
    OwnedDeviceId, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomId, UserId, serde::JsonObject,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    account::AccountState,
    backup::BackupRecord,
    changes::{Changes, Record, Staged, Table},
    cross_signing::PrivateKeys,
    deadlines::{Deadline, Orphans},
    error::CryptoError,
    in_flight::{Apart, InFlight},
    inbound::{Floor, InboundKey, InboundRecord, Seen},
    key_requests::{Answered, KeyRequestRecord},
    olm::PeerSessions,
    outbound::{OutboundRecord, Shares},
    outcome::PlaintextVerdict,
    outgoing::OutgoingRecord,
    secrets::{SecretRequest, Unanswered},
    signatures::SignaturesDue,
    signing::grouped,
    users::UserRecord,
    verification::{Flow, QrAbilities, RoomMessage},
    views::{Claims, View},
};

/// Counters of the machine.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Number of the next to-device message.
    pub(super) next_outgoing: u64,
    /// The latest time ever seen: setting the clock back brings nothing back to life.
    pub(super) high_water_ms: u64,
}

/// What the machine knows of a room.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RoomRecord {
    /// Once true it stays true.
    pub(super) encrypted: bool,
    /// To whom keys may be given; `None` until a key is shared for the first time.
    pub(super) accepted: Option<BTreeSet<OwnedUserId>>,
    /// Who of them was a member when a key was last shared.
    #[serde(default)]
    pub(super) present: BTreeSet<OwnedUserId>,
    /// Members who have not been accepted, as the program was told.
    #[serde(default)]
    pub(super) waiting: BTreeSet<OwnedUserId>,
    /// Digests of what we were told of the room, the newest last.
    #[serde(default)]
    pub(super) views: Vec<View>,
    /// What others are told, where it differs.
    #[serde(default)]
    pub(super) claims: Claims,
}

/// One device's end-to-end encryption. See the [module](super) for the order of calls.
pub struct OlmMachine {
    pub(super) user_id: OwnedUserId,
    pub(super) device_id: OwnedDeviceId,
    pub(super) account: AccountState,
    pub(super) users: BTreeMap<OwnedUserId, UserRecord>,
    /// By the peer's Curve25519 key, unpadded base64.
    pub(super) olm: BTreeMap<String, PeerSessions>,
    pub(super) inbound: BTreeMap<InboundKey, InboundRecord>,
    /// By the record's key: room and lifetime class.
    pub(super) outbound: BTreeMap<String, OutboundRecord>,
    /// By the same key.
    pub(super) shares: BTreeMap<String, Shares>,
    pub(super) replay: BTreeMap<(InboundKey, u32), Seen>,
    pub(super) floors: BTreeMap<InboundKey, Floor>,
    pub(super) rooms: BTreeMap<OwnedRoomId, RoomRecord>,
    /// By the record's key, which counts up.
    pub(super) outgoing: BTreeMap<String, OutgoingRecord>,
    pub(super) cross_signing: Option<PrivateKeys>,
    pub(super) signatures_due: SignaturesDue,
    pub(super) backup: Option<BackupRecord>,
    /// By the request's id.
    pub(super) secret_requests: BTreeMap<String, SecretRequest>,
    /// By the session's id.
    pub(super) key_requests: BTreeMap<String, KeyRequestRecord>,
    /// Whose requests for keys have been answered since the start.
    pub(super) answered: Answered,
    /// By session id: the code.
    pub(super) withheld: BTreeMap<String, String>,
    /// Messages that die with one whose deadline is not known, by that one.
    pub(super) orphans: Orphans,
    /// Of messages that expire, received or sent.
    pub(super) deadlines: BTreeMap<ruma::OwnedEventId, Deadline>,
    pub(super) meta: Meta,
    /// Changes made and not yet handed out.
    pub(super) pending: Changes,
    pub(super) in_flight: BTreeMap<OwnedTransactionId, InFlight>,
    /// What is asked about one at a time.
    pub(super) apart: Apart,
    /// Numbers the requests that are only in memory.
    pub(super) next_request: u64,
    /// Devices that gave no one-time key, and when they were asked.
    pub(super) claims_failed: BTreeMap<(OwnedUserId, OwnedDeviceId), u64>,
    /// Devices whose Olm sessions seem broken: a new one is to be made.
    pub(super) wedged: BTreeSet<(OwnedUserId, OwnedDeviceId)>,
    /// Requests of our own devices that wait for an Olm session with them.
    pub(super) unanswered: Vec<Unanswered>,
    /// By the verification's name.
    pub(super) verifications: BTreeMap<String, Flow>,
    /// Who is being asked in a room, by an event whose id is not known yet.
    pub(super) asking: BTreeSet<OwnedUserId>,
    /// What this device can do with codes.
    pub(super) qr_abilities: QrAbilities,
    /// Messages of verifications that the program has not fetched yet.
    pub(super) room_messages: Vec<RoomMessage>,
}

impl fmt::Debug for OlmMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OlmMachine")
            .field("users", &self.users.len())
            .field("inbound", &self.inbound.len())
            .field("outbound", &self.outbound.len())
            .finish_non_exhaustive()
    }
}

/// The only key in tables that hold one record.
pub(super) const SINGLE: &str = "self";

impl OlmMachine {
    /// Makes a new device: identity keys, one-time keys and a fallback key, to be uploaded.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if the account cannot be serialised.
    pub fn create(
        user_id: &UserId,
        device_id: &ruma::DeviceId,
        now_ms: u64,
    ) -> Result<Staged<Self>, CryptoError> {
        let mut machine = Self::empty(
            user_id.to_owned(),
            device_id.to_owned(),
            AccountState::new(user_id, device_id, now_ms),
        );
        machine.save_account()?;
        let own = UserRecord {
            tracked: true,
            outdated: true,
            ..UserRecord::default()
        };
        machine.users.insert(machine.user_id.clone(), own);
        machine.save_user(user_id)?;
        let changes = std::mem::take(&mut machine.pending);
        Ok(Staged::new(changes, machine))
    }

    /// The device that a store holds; `None` if it holds none and [`create`](Self::create) is due.
    ///
    /// # Errors
    /// [`CryptoError::Decode`] if a record cannot be read, [`CryptoError::WrongAccount`] if it is another's.
    pub fn load(
        user_id: &UserId,
        device_id: &ruma::DeviceId,
        records: Vec<Record>,
    ) -> Result<Option<Self>, CryptoError> {
        let Some(account) = records.iter().find(|record| record.table == Table::Account) else {
            return Ok(None);
        };
        let account: AccountState = decode(account)?;
        if account.user_id != *user_id || account.device_id != *device_id {
            return Err(CryptoError::WrongAccount);
        }
        let mut machine = Self::empty(user_id.to_owned(), device_id.to_owned(), account);
        for record in &records {
            machine.restore(record)?;
        }
        Ok(Some(machine))
    }

    fn empty(user_id: OwnedUserId, device_id: OwnedDeviceId, account: AccountState) -> Self {
        Self {
            user_id,
            device_id,
            account,
            users: BTreeMap::new(),
            olm: BTreeMap::new(),
            inbound: BTreeMap::new(),
            outbound: BTreeMap::new(),
            shares: BTreeMap::new(),
            replay: BTreeMap::new(),
            floors: BTreeMap::new(),
            rooms: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            cross_signing: None,
            signatures_due: SignaturesDue::default(),
            backup: None,
            secret_requests: BTreeMap::new(),
            key_requests: BTreeMap::new(),
            answered: Answered::new(),
            withheld: BTreeMap::new(),
            orphans: Orphans::new(),
            deadlines: BTreeMap::new(),
            meta: Meta::default(),
            pending: Changes::new(),
            in_flight: BTreeMap::new(),
            apart: Apart::default(),
            next_request: 0,
            claims_failed: BTreeMap::new(),
            wedged: BTreeSet::new(),
            unanswered: Vec::new(),
            verifications: BTreeMap::new(),
            qr_abilities: QrAbilities::default(),
            room_messages: Vec::new(),
            asking: BTreeSet::new(),
        }
    }

    fn restore(&mut self, record: &Record) -> Result<(), CryptoError> {
        let unreadable = CryptoError::Decode {
            table: record.table,
        };
        let key = record.key.clone();
        match record.table {
            Table::Account => {}
            Table::User => {
                let user_id = UserId::parse(&key).map_err(|_| unreadable)?;
                self.users.insert(user_id, decode(record)?);
            }
            Table::OlmSessions => drop(self.olm.insert(key, decode(record)?)),
            Table::Inbound => {
                let key = InboundKey::parse(&key).ok_or(unreadable)?;
                self.inbound.insert(key, decode(record)?);
            }
            Table::Outbound => drop(self.outbound.insert(key, decode(record)?)),
            Table::Shares => drop(self.shares.insert(key, decode(record)?)),
            Table::Replay => {
                let key = InboundKey::parse_indexed(&key).ok_or(unreadable)?;
                let seen = decode(record)?;
                self.note_orphan(&key.0, key.1, &seen);
                self.replay.insert(key, seen);
            }
            Table::Floor => {
                let key = InboundKey::parse(&key).ok_or(unreadable)?;
                self.floors.insert(key, decode(record)?);
            }
            Table::Room => {
                let room_id = RoomId::parse(&key).map_err(|_| unreadable)?;
                self.rooms.insert(room_id, decode(record)?);
            }
            Table::Outgoing => drop(self.outgoing.insert(key, decode(record)?)),
            Table::CrossSigning => self.cross_signing = Some(decode(record)?),
            Table::Signatures => self.signatures_due = decode(record)?,
            Table::Backup => self.backup = Some(decode(record)?),
            Table::SecretRequests => drop(self.secret_requests.insert(key, decode(record)?)),
            Table::KeyRequests => drop(self.key_requests.insert(key, decode(record)?)),
            Table::Withheld => drop(self.withheld.insert(key, decode(record)?)),
            Table::Meta => self.meta = decode(record)?,
            Table::Deadline => {
                let event_id = ruma::EventId::parse(&key).map_err(|_| unreadable)?;
                self.deadlines.insert(event_id, decode(record)?);
            }
        }
        Ok(())
    }

    /// Hands out a value with every change made until now.
    pub(super) fn stage<T>(&mut self, value: T) -> Staged<T> {
        Staged::new(std::mem::take(&mut self.pending), value)
    }

    /// The user.
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// The device.
    pub fn device_id(&self) -> &ruma::DeviceId {
        &self.device_id
    }

    /// Our device's fingerprint, its Ed25519 key in groups of four characters, for people to compare.
    pub fn fingerprint(&self) -> String {
        grouped(&self.account.ed25519())
    }

    /// Our device's Ed25519 key, unpadded base64.
    pub fn ed25519_key(&self) -> String {
        self.account.ed25519()
    }

    /// Our device's Curve25519 key, unpadded base64.
    pub fn curve25519_key(&self) -> String {
        self.account.curve25519()
    }

    /// Remembers for ever that the room is encrypted. Call it when an `m.room.encryption` event is seen in the room's state.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if the record cannot be serialised.
    pub fn set_room_encrypted(&mut self, room_id: &RoomId) -> Result<Staged<()>, CryptoError> {
        self.remember_encrypted(room_id)?;
        Ok(self.stage(()))
    }

    /// Whether the room was ever seen to be encrypted, whatever its state says now.
    pub fn is_room_encrypted(&self, room_id: &RoomId) -> bool {
        self.rooms.get(room_id).is_some_and(|room| room.encrypted)
    }

    /// What to do with a message-like room event that came in the clear (state events always do): a server can write one in anyone's name, and an edit, a reaction or a
    /// poll answer in the clear would change what an encrypted event says.
    pub fn judge_plaintext(
        &self,
        room_id: &RoomId,
        event_type: &str,
        content: &JsonObject,
    ) -> PlaintextVerdict {
        /// Message-like events that clients send in the clear on purpose.
        const NEVER_ENCRYPTED: [&str; 2] = ["m.room.redaction", "m.room.encrypted"];
        if !self.is_room_encrypted(room_id) || NEVER_ENCRYPTED.contains(&event_type) {
            return PlaintextVerdict::Fine;
        }
        let relation = content
            .get("m.relates_to")
            .and_then(|relation| relation.get("rel_type"));
        match relation.and_then(serde_json::Value::as_str) {
            // The specification leaves reactions in the clear.
            Some("m.annotation") if event_type == "m.reaction" => PlaintextVerdict::Unencrypted,
            // The steps of a verification may be in the clear, and refer to the event that began it.
            Some("m.reference") if Self::is_verification(event_type, content) => {
                PlaintextVerdict::Unencrypted
            }
            Some(_) => PlaintextVerdict::Reject,
            None => PlaintextVerdict::Unencrypted,
        }
    }

    pub(super) fn remember_encrypted(&mut self, room_id: &RoomId) -> Result<(), CryptoError> {
        let room = self.rooms.entry(room_id.to_owned()).or_default();
        if !room.encrypted {
            room.encrypted = true;
            self.pending.put(Table::Room, room_id.as_str(), room)?;
        }
        Ok(())
    }

    pub(super) fn save_account(&mut self) -> Result<(), CryptoError> {
        self.pending.put(Table::Account, SINGLE, &self.account)
    }

    pub(super) fn save_user(&mut self, user_id: &UserId) -> Result<(), CryptoError> {
        match self.users.get(user_id) {
            Some(user) => self.pending.put(Table::User, user_id.as_str(), user),
            None => Ok(()),
        }
    }

    pub(super) fn save_meta(&mut self) -> Result<(), CryptoError> {
        self.pending.put(Table::Meta, SINGLE, &self.meta)
    }

    /// The time by which things expire: never earlier than it once was.
    pub(super) fn expiry_now(&mut self, now_ms: u64) -> u64 {
        self.meta.high_water_ms = self.meta.high_water_ms.max(now_ms);
        self.meta.high_water_ms
    }
}

fn decode<T: DeserializeOwned>(record: &Record) -> Result<T, CryptoError> {
    serde_json::from_slice(record.value.expose()).map_err(|_| CryptoError::Decode {
        table: record.table,
    })
}
