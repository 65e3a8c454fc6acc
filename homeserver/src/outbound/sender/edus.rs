//! What is owed beside events, from whatever keeps it.
//!
//! Invariant: a source derives what it gives from rows with positions, so that nothing is lost in a crash and nothing is
//! kept twice.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#edus>

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName,
    api::federation::transactions::edu::{
        Edu, PresenceContent, PresenceUpdate, ReceiptContent, ReceiptData, ReceiptMap,
    },
    events::receipt::Receipt,
};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    outbound::Pending,
    store::{Store, StoreError, StoredReceipt},
};

/// Receipts that one EDU carries.
const RECEIPTS_PER_EDU_MAX: usize = 200;

/// An EDU that is owed since a position.
#[derive(Debug, Clone)]
pub struct OwedEdu {
    /// What it settles: everything of its source up to here, or up to the next one.
    pub position: i64,
    /// The EDU: `edu_type` and `content`.
    pub json: Box<RawValue>,
}

/// What a source answers.
#[derive(Debug, Clone)]
pub struct OwedEdus {
    /// What is owed, oldest first.
    pub edus: Vec<OwedEdu>,
    /// Up to which position the answer is complete: the end of the range, or less if there is more than fits.
    pub complete_through: i64,
}

impl OwedEdus {
    /// Nothing at all in the range.
    #[must_use]
    pub fn none(range: &EduRange<'_>) -> Self {
        Self {
            edus: Vec::new(),
            complete_through: range.through,
        }
    }
}

/// What a source is asked for.
#[derive(Debug, Clone, Copy)]
pub struct EduRange<'a> {
    /// To whom it is owed.
    pub destination: &'a ServerName,
    /// The rooms in which that server is joined.
    pub rooms: &'a [&'a RoomId],
    /// Positions above this one.
    pub after: i64,
    /// Positions up to this one.
    pub through: i64,
    /// At most so many.
    pub limit: u64,
    /// The events that it is owed in the range, by position.
    pub events: &'a [(i64, OwnedEventId)],
}

/// Something that owes EDUs to other servers.
pub trait EduSource: Debug + Send + Sync + 'static {
    /// What is owed in a range.
    fn owed<'a>(&'a self, range: EduRange<'a>) -> Pending<'a, Result<OwedEdus, StoreError>>;
}

/// Read receipts of our users.
#[derive(Debug, Clone)]
pub struct Receipts {
    /// Where they are.
    pub store: Arc<Store>,
    /// Whose users are ours.
    pub server_name: OwnedServerName,
}

impl EduSource for Receipts {
    fn owed<'a>(&'a self, range: EduRange<'a>) -> Pending<'a, Result<OwedEdus, StoreError>> {
        Box::pin(async move {
            let receipts = self
                .store
                .public_receipts(
                    &self.server_name,
                    range.rooms,
                    range.after,
                    range.through,
                    RECEIPTS_PER_EDU_MAX as u64,
                )
                .await?;
            let Some(position) = receipts.last().map(|receipt| receipt.position) else {
                return Ok(OwedEdus::none(&range));
            };
            // If there are more, they follow in the next transaction.
            let complete_through = match receipts.len() < RECEIPTS_PER_EDU_MAX {
                true => range.through,
                false => position,
            };
            let edus =
                receipt_edus(receipts).map_err(|_| StoreError::corrupt("receipts", "event_id"))?;
            Ok(OwedEdus {
                edus,
                complete_through,
            })
        })
    }
}

/// The EDUs of receipts, which are in the order of their positions.
///
/// An EDU has one place for a user in a room; a user's receipts for several threads are told in EDUs that follow each other,
/// so that each EDU settles all up to its own position.
fn receipt_edus(receipts: Vec<StoredReceipt>) -> serde_json::Result<Vec<OwedEdu>> {
    let mut edus = Vec::new();
    let mut rooms: ReceiptsByRoom = BTreeMap::new();
    let mut position = 0;
    for receipt in receipts {
        let of_room = rooms.get(&receipt.room_id);
        if of_room.is_some_and(|users| users.contains_key(&receipt.user_id)) {
            edus.push(receipt_edu(std::mem::take(&mut rooms), position)?);
        }
        position = receipt.position;
        let mut data = Receipt::new(receipt.ts);
        data.thread = receipt.thread;
        let data = ReceiptData::new(data, vec![receipt.event_id]);
        let of_room = rooms.entry(receipt.room_id).or_default();
        of_room.insert(receipt.user_id, data);
    }
    edus.push(receipt_edu(rooms, position)?);
    Ok(edus)
}

type ReceiptsByRoom = BTreeMap<OwnedRoomId, BTreeMap<OwnedUserId, ReceiptData>>;

fn receipt_edu(rooms: ReceiptsByRoom, position: i64) -> serde_json::Result<OwedEdu> {
    let rooms = rooms
        .into_iter()
        .map(|(room, read)| (room, ReceiptMap::new(read)));
    let json = to_raw_value(&Edu::Receipt(ReceiptContent::new(rooms.collect())))?;
    Ok(OwedEdu { position, json })
}

/// The EDU of one user who began or stopped typing.
pub(super) fn typing_edu(
    room: OwnedRoomId,
    user: OwnedUserId,
    is_typing: bool,
) -> Option<Box<RawValue>> {
    use ruma::api::federation::transactions::edu::TypingContent;
    let content = TypingContent::new(room, user, is_typing);
    to_raw_value(&Edu::Typing(content)).ok()
}

/// The EDU of users' presence; none for nobody.
pub(super) fn presence_edu(push: Vec<PresenceUpdate>) -> Option<Box<RawValue>> {
    if push.is_empty() {
        return None;
    }
    to_raw_value(&Edu::Presence(PresenceContent::new(push))).ok()
}

#[cfg(test)]
mod tests {
    use ruma::{MilliSecondsSinceUnixEpoch, events::receipt::ReceiptThread};
    use serde_json::{Value, json};

    use super::*;

    fn receipt(user: &str, thread: ReceiptThread, position: i64) -> StoredReceipt {
        StoredReceipt {
            room_id: "!room:example.org".try_into().unwrap(),
            user_id: user.try_into().unwrap(),
            thread,
            event_id: format!("$event{position}").try_into().unwrap(),
            ts: MilliSecondsSinceUnixEpoch(7_u32.into()),
            position,
        }
    }

    #[test]
    fn receipts_for_several_threads_are_all_told() {
        let root = || ReceiptThread::Thread("$root".try_into().unwrap());
        let receipts = vec![
            receipt("@alice:example.org", ReceiptThread::Main, 1),
            receipt("@bob:example.org", ReceiptThread::Unthreaded, 2),
            receipt("@alice:example.org", root(), 3),
            receipt("@alice:example.org", ReceiptThread::Unthreaded, 4),
        ];
        let edus = receipt_edus(receipts).unwrap();
        let positions: Vec<i64> = edus.iter().map(|edu| edu.position).collect();
        assert_eq!(positions, [2, 3, 4]);
        let read = |edu: &OwedEdu| {
            let edu: Value = serde_json::from_str(edu.json.get()).unwrap();
            edu["content"]["!room:example.org"]["m.read"].clone()
        };
        assert_eq!(
            read(&edus[0]),
            json!({
                "@alice:example.org": {"data": {"ts": 7, "thread_id": "main"}, "event_ids": ["$event1"]},
                "@bob:example.org": {"data": {"ts": 7}, "event_ids": ["$event2"]},
            })
        );
        let alice = json!({"data": {"ts": 7, "thread_id": "$root"}, "event_ids": ["$event3"]});
        assert_eq!(read(&edus[1]), json!({"@alice:example.org": alice}));
    }
}
