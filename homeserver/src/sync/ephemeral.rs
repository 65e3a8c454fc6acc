//! What is told of a room besides its events: receipts and typing.
//!
//! Invariant: a private receipt is told to its user alone; of several receipts of one user for
//! one thread, only the newest is told.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#receipts>

use std::collections::BTreeMap;

use ruma::{OwnedUserId, RoomId, UserId};

use super::notify::RoomLogRow;
use crate::{
    rooms::json::JsonWriter,
    store::{LogKind, READ, READ_PRIVATE, ReceiptNote, ReceiptRow},
};

/// One receipt to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) event: String,
    pub(super) kind: &'static str,
    pub(super) user: String,
    pub(super) thread: String,
    pub(super) ts: i64,
}

impl From<&ReceiptRow> for Receipt {
    fn from(row: &ReceiptRow) -> Self {
        Self {
            event: row.event_id.as_str().to_owned(),
            kind: if row.private { READ_PRIVATE } else { READ },
            user: row.user_id.as_str().to_owned(),
            thread: row.thread.clone(),
            ts: row.ts,
        }
    }
}

/// The public receipts among the rows of a room's log.
pub(super) fn receipts_of(rows: &[RoomLogRow]) -> impl Iterator<Item = Receipt> {
    let rows = rows.iter().filter(|row| row.kind == LogKind::Receipt);
    let notes = rows.filter_map(|row| serde_json::from_str::<ReceiptNote<'_>>(&row.reference).ok());
    notes.map(|ReceiptNote(user, event, thread, ts)| Receipt {
        event: event.into_owned(),
        kind: READ,
        user: user.into_owned(),
        thread: thread.into_owned(),
        ts,
    })
}

/// A private receipt of `user` as the log tells it, if it is for this room.
pub(super) fn private_receipt(reference: &str, user: &UserId) -> Option<(String, Receipt)> {
    let ReceiptNote(room, event, thread, ts) = serde_json::from_str(reference).ok()?;
    let receipt = Receipt {
        event: event.into_owned(),
        kind: READ_PRIVATE,
        user: user.as_str().to_owned(),
        thread: thread.into_owned(),
        ts,
    };
    Some((room.into_owned(), receipt))
}

/// Writes `m.receipt`, as a value. Later receipts of a user for a thread replace earlier ones.
pub(super) fn write_receipts(out: &mut JsonWriter, receipts: &[Receipt]) {
    let mut newest: BTreeMap<(&str, &str, &str), &Receipt> = BTreeMap::new();
    for receipt in receipts {
        let key = (&*receipt.user, receipt.kind, &*receipt.thread);
        let known = newest.entry(key).or_insert(receipt);
        if known.ts <= receipt.ts {
            *known = receipt;
        }
    }
    // Event, then type, then user: a user's receipts for several threads on one event are one, the
    // unthreaded one first of all.
    let mut by_event: BTreeMap<&str, BTreeMap<&str, BTreeMap<&str, &Receipt>>> = BTreeMap::new();
    for receipt in newest.into_values() {
        let users = by_event
            .entry(&*receipt.event)
            .or_default()
            .entry(receipt.kind)
            .or_default();
        users.entry(&*receipt.user).or_insert(receipt);
    }
    out.open().key("content").open();
    for (event, kinds) in by_event {
        out.key(event).open();
        for (kind, users) in kinds {
            out.key(kind).open();
            for (user, receipt) in users {
                out.key(user).open().key("ts").number(receipt.ts);
                if !receipt.thread.is_empty() {
                    out.key("thread_id").string(&receipt.thread);
                }
                out.close();
            }
            out.close();
        }
        out.close();
    }
    out.close().key("type").string("m.receipt").close();
}

/// Writes `m.typing`, as a value.
pub(super) fn write_typing(out: &mut JsonWriter, users: &[OwnedUserId]) {
    out.open().key("content").open();
    out.key("user_ids").value(users);
    out.close().key("type").string("m.typing").close();
}

/// Whether a receipt is the user's own.
pub(super) fn is_own(receipt: &Receipt, user: &UserId) -> bool {
    receipt.user == user.as_str()
}

/// Whether a row of a user's own log is a receipt for this room.
pub(super) fn is_for(room: &RoomId, of: &str) -> bool {
    room.as_str() == of
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(event: &str, user: &str, thread: &str, ts: i64) -> Receipt {
        Receipt {
            event: event.to_owned(),
            kind: READ,
            user: user.to_owned(),
            thread: thread.to_owned(),
            ts,
        }
    }

    #[test]
    fn the_newest_receipt_of_each_thread_is_told() {
        let receipts = [
            receipt("$1", "@a:x.org", "", 1),
            receipt("$2", "@a:x.org", "", 2),
            receipt("$2", "@a:x.org", "main", 3),
            receipt("$1", "@b:x.org", "$root", 4),
        ];
        let mut out = JsonWriter::default();
        write_receipts(&mut out, &receipts);
        let told: serde_json::Value = serde_json::from_slice(&out.into_bytes()).unwrap();
        let expected = serde_json::json!({
            "type": "m.receipt",
            "content": {
                "$1": {"m.read": {"@b:x.org": {"ts": 4, "thread_id": "$root"}}},
                "$2": {"m.read": {"@a:x.org": {"ts": 2}}},
            },
        });
        assert_eq!(told, expected);
    }
}
