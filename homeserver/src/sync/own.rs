//! What an answer tells that is the user's own: account data, messages to the device, key counts.
//!
//! Invariant: a message to a device is told until a client presents a token at or above it, and
//! only then deleted: a lost answer loses nothing.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging>

use std::collections::{BTreeSet, HashSet};

use ruma::{OwnedRoomId, RoomId, UserId};

use super::{
    PUSH_RULES, Sync, SyncRequest,
    ephemeral::{Receipt, private_receipt},
    room::write_list,
    told::Device,
    window::Window,
};
use crate::{
    rooms::json::JsonWriter,
    store::{AccountDatum, DeleteToDevice, LogEnd, LogKind, LogRow, Scope, StoreError},
};

/// Messages to a device in one answer; more come with the next.
const MESSAGES_MAX: usize = 100;
/// The algorithm of one-time keys that are counted even if there are none.
const ONE_TIME_KEYS: &str = "signed_curve25519";
/// Rows of a user's own log that one read takes.
const ROWS_PER_READ: u64 = 1000;

/// What a user's own log says in an interval.
#[derive(Debug, Default)]
pub(super) struct OwnChanges {
    /// Rooms that something of it is about.
    pub(super) rooms: BTreeSet<OwnedRoomId>,
    /// Those in which the user's membership changed.
    pub(super) memberships: HashSet<OwnedRoomId>,
    /// Private receipts, with their rooms.
    pub(super) receipts: Vec<(String, Receipt)>,
    /// Account data as it is now.
    data: Vec<AccountDatum>,
}

impl Sync {
    /// What the user's own log says in an interval; for a first answer, all account data there is.
    pub(super) async fn own_changes(
        &self,
        user: &UserId,
        after: Option<i64>,
        upto: i64,
        read: bool,
    ) -> Result<OwnChanges, StoreError> {
        let mut own = OwnChanges::default();
        let Some(after) = after else {
            own.data = self.context.store.account_data_of(user, None).await?;
            self.put_push_rules(user, &mut own.data, true).await?;
            return Ok(own);
        };
        if !read {
            return Ok(own);
        }
        let mut kinds = BTreeSet::new();
        for row in self.own_rows(user, after, upto).await? {
            note(&mut own, &mut kinds, user, &row);
        }
        if !kinds.is_empty() {
            let found = self
                .context
                .store
                .account_data_of(user, Some(&kinds))
                .await?;
            let changed = |datum: &AccountDatum| {
                datum
                    .room_id
                    .as_ref()
                    .is_none_or(|room| own.rooms.contains(room))
            };
            own.data = found.into_iter().filter(changed).collect();
            self.put_push_rules(user, &mut own.data, false).await?;
        }
        Ok(own)
    }

    /// Puts the push rules as they apply in place of those that are stored; `always` even if the
    /// user has none stored.
    async fn put_push_rules(
        &self,
        user: &UserId,
        data: &mut Vec<AccountDatum>,
        always: bool,
    ) -> Result<(), StoreError> {
        let before = data.len();
        data.retain(|datum| datum.room_id.is_some() || datum.kind != PUSH_RULES);
        if !always && data.len() == before {
            return Ok(());
        }
        let rules = self.context.store.push_rules(user).await?;
        let mut content = JsonWriter::with_capacity(8192);
        content.open().key("global").value(&*rules).close();
        let content = String::from_utf8(content.into_bytes());
        data.push(AccountDatum {
            room_id: None,
            kind: PUSH_RULES.to_owned(),
            content: content.map_err(|_| StoreError::corrupt("account_data", "content"))?,
        });
        Ok(())
    }

    async fn own_rows(
        &self,
        user: &UserId,
        after: i64,
        upto: i64,
    ) -> Result<Vec<LogRow>, StoreError> {
        let mut rows: Vec<LogRow> = Vec::new();
        let mut from = after;
        loop {
            let (scope, end) = (Scope::User(user), LogEnd::Oldest);
            let read = self
                .context
                .store
                .log_of(scope, from, upto, end, ROWS_PER_READ)
                .await?;
            let is_last = (read.len() as u64) < ROWS_PER_READ;
            from = read.last().map_or(upto, |row| row.position);
            rows.extend(read);
            if is_last {
                return Ok(rows);
            }
        }
    }

    /// Writes global account data; answers whether there is any.
    pub(super) async fn write_account_data(
        &self,
        out: &mut JsonWriter,
        window: &Window<'_>,
    ) -> Result<bool, StoreError> {
        let filter = &window.request.filter.account_data;
        let user = &window.request.user_id;
        let global = window
            .own
            .data
            .iter()
            .filter(|datum| datum.room_id.is_none());
        let global = global.filter(|datum| filter.allows(&datum.kind, user));
        let events: Vec<Vec<u8>> = global.map(event_of).collect();
        if !events.is_empty() {
            write_list(out.key("account_data"), &events);
        }
        Ok(!events.is_empty() && window.after.is_some())
    }

    /// The account data of a room, as events: `all` of it, for a client that does not know the room, or what is new.
    pub(super) async fn room_account_data(
        &self,
        window: &Window<'_>,
        room: &RoomId,
        all: bool,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let section = &window.request.filter.room_account_data;
        if !section.allows_room(room) {
            return Ok(Vec::new());
        }
        let user = &window.request.user_id;
        let stored = match all && window.after.is_some() {
            true => Some(self.context.store.account_data_of_room(user, room).await?),
            // A first answer has read everything.
            false => None,
        };
        let data = stored.as_ref().unwrap_or(&window.own.data).iter();
        let data = data.filter(|datum| datum.room_id.as_deref() == Some(room));
        let data = data.filter(|datum| section.allows_type(&datum.kind, user));
        Ok(data.map(event_of).collect())
    }

    /// Whether a message waits for the device above a position.
    pub(super) async fn has_to_device(
        &self,
        request: &SyncRequest,
        after: i64,
    ) -> Result<bool, StoreError> {
        let scope = Scope::Device(&request.user_id, &request.device_id);
        Ok(self.context.store.newest_of(scope).await? > after)
    }
}

/// Takes a row of the user's own log into account.
fn note(own: &mut OwnChanges, kinds: &mut BTreeSet<String>, user: &UserId, row: &LogRow) {
    let reference = row.reference.as_deref().unwrap_or_default();
    let room = |id: &str| OwnedRoomId::try_from(id).ok();
    match row.kind {
        LogKind::Membership => {
            own.rooms.extend(room(reference));
            own.memberships.extend(room(reference));
        }
        LogKind::AccountData => {
            kinds.insert(reference.to_owned());
        }
        LogKind::RoomAccountData => {
            if let Some((id, kind)) = reference.split_once(' ') {
                own.rooms.extend(room(id));
                kinds.insert(kind.to_owned());
            }
        }
        LogKind::Receipt => {
            let receipt = private_receipt(reference, user);
            own.rooms
                .extend(receipt.as_ref().and_then(|(id, _)| room(id)));
            own.receipts.extend(receipt);
        }
        _ => {}
    }
}

/// Account data as the event that a client gets.
fn event_of(datum: &AccountDatum) -> Vec<u8> {
    let mut out = JsonWriter::with_capacity(datum.content.len() + 64);
    out.open().key("content").raw(datum.content.as_bytes());
    out.key("type").string(&datum.kind).close();
    out.into_bytes()
}

impl Sync {
    /// Writes the messages that wait for the device, at most [`MESSAGES_MAX`]; answers whether there
    /// are any, and up to where they are told.
    pub(super) async fn write_to_device(
        &self,
        out: &mut JsonWriter,
        window: &Window<'_>,
    ) -> Result<(bool, i64), StoreError> {
        let (request, upto) = (window.request, window.upto);
        let after = request.since.map_or(0, |since| since.to_device);
        if !self.has_to_device(request, after).await? {
            return Ok((false, upto));
        }
        let (user, device) = (&request.user_id, &request.device_id);
        let limit = MESSAGES_MAX as u64;
        let messages = self
            .context
            .store
            .to_device_of(user, device, after, upto, limit, window.now_ms)
            .await?;
        let Some(last) = messages.last() else {
            return Ok((false, upto));
        };
        out.key("to_device").open().key("events").open_list();
        for message in &messages {
            out.element().raw(message.event.get().as_bytes());
        }
        out.close_list().close();
        let all = messages.len() < MESSAGES_MAX;
        Ok((true, if all { upto } else { last.position }))
    }

    /// Deletes the messages that the device has: once for each token that moved beyond messages.
    pub(super) async fn delete_to_device(
        &self,
        device: Device,
        upto: i64,
    ) -> Result<(), StoreError> {
        let store = &self.context.store;
        let newest = store.newest_of(Scope::Device(&device.0, &device.1)).await?;
        let deleted = self.deleted.get(&device).unwrap_or(0);
        if newest <= deleted || upto <= deleted {
            return Ok(());
        }
        let (user_id, device_id) = device.clone();
        let delete = DeleteToDevice {
            user_id,
            device_id,
            upto,
        };
        if store.commit(delete).await?.output {
            store.note_residue();
        }
        self.deleted.insert(device, upto);
        Ok(())
    }

    /// Writes how many keys others can still claim from the device.
    pub(super) async fn write_key_counts(
        &self,
        out: &mut JsonWriter,
        request: &SyncRequest,
    ) -> Result<(), StoreError> {
        let counts = self
            .context
            .store
            .key_counts(&request.user_id, &request.device_id)
            .await?;
        out.key("device_one_time_keys_count").open();
        // Clients upload keys only when they are told that they have none.
        if !counts.one_time.contains_key(ONE_TIME_KEYS) {
            out.key(ONE_TIME_KEYS).number(0);
        }
        for (algorithm, count) in &counts.one_time {
            out.key(algorithm).value(count);
        }
        out.close();
        out.key("device_unused_fallback_key_types")
            .value(&counts.unused_fallback);
        Ok(())
    }
}
