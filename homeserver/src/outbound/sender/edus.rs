//! What is owed beside events, from whatever keeps it.
//!
//! Invariant: a source derives what it gives from rows with positions, so that nothing is lost in a crash and nothing is
//! kept twice.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#edus>

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use ruma::{
    OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName,
    api::federation::transactions::edu::{Edu, ReceiptContent, ReceiptData, ReceiptMap},
    events::receipt::{Receipt, ReceiptThread},
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
            // All of them in one EDU; if there are more, they follow in the next transaction.
            let complete_through = match receipts.len() < RECEIPTS_PER_EDU_MAX {
                true => range.through,
                false => position,
            };
            let json = to_raw_value(&receipt_edu(receipts))
                .map_err(|_| StoreError::corrupt("receipts", "event_id"))?;
            Ok(OwedEdus {
                edus: vec![OwedEdu { position, json }],
                complete_through,
            })
        })
    }
}

fn receipt_edu(receipts: Vec<StoredReceipt>) -> Edu {
    let mut rooms: BTreeMap<OwnedRoomId, BTreeMap<OwnedUserId, ReceiptData>> = BTreeMap::new();
    for receipt in receipts {
        let mut data = Receipt::new(receipt.ts);
        data.thread = receipt.thread;
        let data = ReceiptData::new(data, vec![receipt.event_id]);
        // A user's receipts for several threads share one place in the EDU: the unthreaded one, or else the last, stays.
        let of_room = rooms.entry(receipt.room_id).or_default();
        let keep = of_room
            .get(&receipt.user_id)
            .is_some_and(|kept: &ReceiptData| kept.data.thread == ReceiptThread::Unthreaded);
        if !keep {
            of_room.insert(receipt.user_id, data);
        }
    }
    let rooms = rooms
        .into_iter()
        .map(|(room, read)| (room, ReceiptMap::new(read)));
    Edu::Receipt(ReceiptContent::new(rooms.collect()))
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
