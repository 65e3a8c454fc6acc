//! The next transaction: what is owed beyond the cursor, as much as fits.
//!
//! Invariant: a transaction settles a prefix of what is owed. Everything at or below its `through` is in it or is not owed;
//! nothing above is in it.

use std::collections::HashSet;

use passeur_protocol::limits::{EDUS_PER_TRANSACTION_MAX, PDUS_PER_TRANSACTION_MAX};
use ruma::{OwnedEventId, RoomId, ServerName};
use serde_json::value::RawValue;

use super::{SenderContext, edus::EduRange};
use crate::store::{EventStatus, Stay, StoreError};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Positions above this one.
    pub(super) after: i64,
    /// Positions up to this one.
    pub(super) through: i64,
    /// Whether only the newest event of each room counts.
    pub(super) newest_per_room: bool,
    /// Most items of either kind; fewer than the protocol's limits after a refusal.
    pub(super) items_max: usize,
}

/// What goes into a transaction.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The events.
    pub(super) pdus: Vec<OwnedEventId>,
    /// What is owed to this server alone, by position.
    pub(super) rows: Vec<i64>,
    /// The rest.
    pub(super) edus: Vec<Box<RawValue>>,
    /// What both settle.
    pub(super) through: i64,
}

impl Loaded {
    pub(super) fn is_empty(&self) -> bool {
        self.pdus.is_empty() && self.rows.is_empty() && self.edus.is_empty()
    }
}

/// One item and where it stands.
#[derive(Debug, Clone)]
enum Item {
    Pdu(OwnedEventId),
    Row,
    Edu(Box<RawValue>),
}

/// Loads the next transaction for a server: an empty one only if nothing is owed at all in the range.
pub(super) async fn load(
    context: &SenderContext,
    server: &ServerName,
    mut wanted: Wanted,
) -> Result<Loaded, StoreError> {
    loop {
        let loaded = load_some(context, server, wanted).await?;
        let is_whole = loaded.through >= wanted.through;
        if !loaded.is_empty() || is_whole || loaded.through <= wanted.after {
            return Ok(loaded);
        }
        // What was read turned out not to be owed; there may be more behind it.
        wanted.after = loaded.through;
    }
}

/// Loads as much as one reading of the log gives.
async fn load_some(
    context: &SenderContext,
    server: &ServerName,
    wanted: Wanted,
) -> Result<Loaded, StoreError> {
    let stays = context.store.stays_of(server).await?;
    let mut pdus = Vec::new();
    let mut through = wanted.through;
    load_pdus(context, server, &stays, wanted, &mut pdus, &mut through).await?;
    loop {
        let asked = through;
        let mut items = pdus.clone();
        load_edus(context, server, &stays, wanted, &mut items, &mut through).await?;
        let loaded = cut(items, through, wanted.items_max);
        // An EDU may stand for all that its source has up to the place asked for. If less than that is settled, what it
        // has up to there is another EDU.
        if loaded.through >= asked {
            return Ok(loaded);
        }
        through = loaded.through;
    }
}

async fn load_pdus(
    context: &SenderContext,
    server: &ServerName,
    stays: &[Stay],
    wanted: Wanted,
    items: &mut Vec<(i64, Item)>,
    through: &mut i64,
) -> Result<(), StoreError> {
    let limit = wanted.items_max.min(PDUS_PER_TRANSACTION_MAX);
    let mut rows = Vec::new();
    let (open, closed): (Vec<&Stay>, Vec<&Stay>) = stays
        .iter()
        .filter(|stay| stay.joined_from < wanted.through)
        .filter(|stay| stay.left_at.is_none_or(|left| left > wanted.after))
        .partition(|stay| stay.left_at.is_none());
    // What was said before a server came is not owed, and may be much: such a stay is read from its own beginning, and one
    // that has ended to its own end, up to which the newest event counts. There are few of either.
    let (old, new): (Vec<&Stay>, Vec<&Stay>) = open
        .into_iter()
        .partition(|stay| stay.joined_from <= wanted.after);
    let rooms: Vec<&RoomId> = old.iter().map(|stay| &*stay.room_id).collect();
    let mut read = vec![(rooms, wanted.after, wanted.through)];
    read.extend(new.iter().chain(&closed).map(|stay| {
        let begin = stay.joined_from.max(wanted.after);
        let end = stay.left_at.unwrap_or(wanted.through).min(wanted.through);
        (vec![&*stay.room_id], begin, end)
    }));
    for (rooms, begin, end) in read {
        if rooms.is_empty() {
            continue;
        }
        // One more than fits, so that a full answer is known from one that just fits.
        let found = context
            .store
            .owed_events(&rooms, begin, end, wanted.newest_per_room, limit as u64 + 1)
            .await?;
        if found.len() > limit
            && let Some(last) = found.get(limit - 1)
        {
            *through = (*through).min(last.position);
        }
        rows.extend(found);
    }
    let mut ids = Vec::with_capacity(rows.len());
    let covered = |scope: &str, position| {
        let room = scope.get(1..).unwrap_or_default();
        stays
            .iter()
            .any(|stay| stay.room_id == room && stay.covers(position))
    };
    for row in rows {
        let id = row.reference.as_deref().map(OwnedEventId::try_from);
        if let Some(Ok(id)) = id
            && covered(&row.scope, row.position)
        {
            ids.push((row.position, id));
        }
    }
    let (alone, complete) = context
        .store
        .events_owed_alone(server, wanted.after, wanted.through, limit as u64)
        .await?;
    *through = (*through).min(complete);
    ids.extend(alone);
    take_sendable(context, server, ids, items).await
}

/// Takes those of the events that may be sent.
async fn take_sendable(
    context: &SenderContext,
    server: &ServerName,
    mut ids: Vec<(i64, OwnedEventId)>,
    items: &mut Vec<(i64, Item)>,
) -> Result<(), StoreError> {
    let sendable = sendable(context, server, &ids).await?;
    ids.retain(|(_, id)| sendable.contains(id));
    items.extend(
        ids.into_iter()
            .map(|(position, id)| (position, Item::Pdu(id))),
    );
    Ok(())
}

/// Those of the events that are part of their room and that the server did not send itself.
async fn sendable(
    context: &SenderContext,
    server: &ServerName,
    ids: &[(i64, OwnedEventId)],
) -> Result<HashSet<OwnedEventId>, StoreError> {
    let ids: Vec<OwnedEventId> = ids.iter().map(|(_, id)| id.clone()).collect();
    let events = context.store.events(&ids).await?;
    let own = events.iter().filter(|event| {
        event.status == EventStatus::Accepted && event.pdu.sender.server_name() != server
    });
    Ok(own.map(|event| event.id().to_owned()).collect())
}

async fn load_edus(
    context: &SenderContext,
    server: &ServerName,
    stays: &[Stay],
    wanted: Wanted,
    items: &mut Vec<(i64, Item)>,
    through: &mut i64,
) -> Result<(), StoreError> {
    let joined = stays.iter().filter(|stay| stay.left_at.is_none());
    let rooms: Vec<&RoomId> = joined.map(|stay| &*stay.room_id).collect();
    let limit = wanted.items_max.min(EDUS_PER_TRANSACTION_MAX);
    let rows = context
        .store
        .edus_for(
            server,
            wanted.after,
            wanted.through,
            limit as u64,
            context.clock.now_ms(),
        )
        .await?;
    if rows.len() >= limit
        && let Some((last, _)) = rows.last()
    {
        *through = (*through).min(*last);
    }
    items.extend(rows.into_iter().map(|(position, _)| (position, Item::Row)));
    let pdus = items.iter().filter_map(|(position, item)| match item {
        Item::Pdu(id) => Some((*position, id.clone())),
        _ => None,
    });
    let events: Vec<(i64, OwnedEventId)> = pdus.collect();
    for source in &context.edus {
        let range = EduRange {
            destination: server,
            rooms: &rooms,
            after: wanted.after,
            through: *through,
            limit: limit as u64,
            events: &events,
        };
        let owed = source.owed(range).await?;
        *through = (*through).min(owed.complete_through);
        items.extend(
            owed.edus
                .into_iter()
                .map(|edu| (edu.position, Item::Edu(edu.json))),
        );
    }
    Ok(())
}

/// Takes the longest prefix that fits.
fn cut(mut items: Vec<(i64, Item)>, mut through: i64, items_max: usize) -> Loaded {
    items.sort_by_key(|(position, _)| *position);
    let mut loaded = Loaded::default();
    let mut taken = 0;
    for (position, item) in items {
        if position > through {
            break;
        }
        let edus = loaded.rows.len() + loaded.edus.len();
        let has_room = loaded.pdus.len() + edus < items_max;
        let fits = match &item {
            Item::Pdu(_) => loaded.pdus.len() < PDUS_PER_TRANSACTION_MAX,
            Item::Row | Item::Edu(_) => edus < EDUS_PER_TRANSACTION_MAX,
        };
        if !has_room || !fits {
            through = (position - 1).max(taken);
            break;
        }
        taken = position;
        match item {
            Item::Pdu(id) => loaded.pdus.push(id),
            Item::Row => loaded.rows.push(position),
            Item::Edu(json) => loaded.edus.push(json),
        }
    }
    loaded.through = through;
    loaded
}
