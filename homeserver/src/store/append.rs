//! Appending to a room: the change that all accepted, soft-failed, rejected and outlying events
//! go through.
//!
//! Invariant: compare-and-set. A room's row changes only if its `tip` is the one that the append
//! was made for; otherwise nothing is written and the caller builds again. What an event removes
//! (a redaction's target) goes in the same transaction.

use std::collections::HashSet;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict},
};

use super::{
    Change, LogKind, Membership, NewAlias, RoomRow, Scope, StateGroup, StoreError, Tx, aliases,
    entity::{
        event_bodies, event_relations, events, missing_events, room_members, rooms, state_groups,
        transaction_ids,
    },
    events::Event,
    expiry, remote_devices, rescinded,
    shred::{self, Seal, Shredder},
    stays,
};

/// Events that one query asks for.
const IDS_PER_QUERY_MAX: usize = 500;

/// An event to be stored.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event; its `position` is given by the append.
    pub event: Event,
    /// How it enters the log; `None` for history, outliers, soft-failed and rejected events.
    pub log: Option<LogKind>,
    /// `m.relates_to`: the parent and how it relates.
    pub relation: Option<(OwnedEventId, String)>,
    /// Whether the event is held already, as an outlier that now gets its place.
    pub promoted: bool,
}

/// A member's new membership.
#[derive(Clone, Debug)]
pub struct NewMembership {
    /// The user.
    pub user_id: OwnedUserId,
    /// The new membership; `None` if the state no longer has one.
    pub membership: Option<Membership>,
    /// The event that says so.
    pub event_id: OwnedEventId,
    /// Whether the user is one of ours: then they are told.
    pub is_local: bool,
    /// For invites and knocks of rooms that we are not in.
    pub stripped_state: Option<String>,
}

/// A client's transaction and the event that it made.
#[derive(Clone, Debug)]
pub struct NewTransaction {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: String,
    /// What identifies the transaction for the device.
    pub key: String,
    /// The event.
    pub event_id: OwnedEventId,
    /// When, in ms since the epoch.
    pub created_ts: i64,
}

/// Brings caches up to date with the positions that the events were given.
pub type OnDisk = Box<dyn Fn(&[Option<i64>]) + Send + Sync>;

/// Everything that one append writes.
#[derive(Default)]
pub struct RoomAppend {
    /// Called once it is on disk, before anybody is told.
    pub on_disk: Option<OnDisk>,
    /// The room.
    pub room_id: Option<OwnedRoomId>,
    /// The room's new row; `None` if only outliers or memberships are written.
    pub room: Option<RoomRow>,
    /// The tip that the room must have; `None` if the room is new.
    pub expected_tip: Option<i64>,
    /// New states.
    pub groups: Vec<StateGroup>,
    /// The events, in their order.
    pub events: Vec<NewEvent>,
    /// Changed memberships.
    pub members: Vec<NewMembership>,
    /// Clients' transactions.
    pub transactions: Vec<NewTransaction>,
    /// Events whose bodies go: the target and its redaction.
    pub redactions: Vec<(OwnedEventId, OwnedEventId)>,
    /// State that changed without an event of the timeline: the JSON of [`LogKind::ResolvedState`].
    pub resolved_state: Option<String>,
    /// Predecessors that are not held.
    pub missing: Vec<OwnedEventId>,
    /// Events that are no longer missing.
    pub found: Vec<OwnedEventId>,
    /// An alias that a new room must get: if it is taken, nothing is written.
    pub alias: Option<NewAlias>,
    /// When the room's expiry policy changed, if it does by this: deadlines must follow. In ms
    /// since the epoch.
    pub policy_changed_ms: Option<i64>,
}

impl std::fmt::Debug for RoomAppend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoomAppend")
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}

/// The room has moved since the append was made, or its new alias is taken: build it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved;

impl Change for RoomAppend {
    /// The positions of the events, in their order.
    type Output = Result<Vec<Option<i64>>, Moved>;

    async fn apply(&self, tx: &mut Tx) -> Result<Self::Output, StoreError> {
        let Some(room_id) = &self.room_id else {
            return Ok(Ok(Vec::new()));
        };
        let held = self.held(tx).await?;
        // Meanwhile it came as part of an auth chain or of a state: it is there to be promoted.
        let is_surprising = |new: &&NewEvent| new.log.is_some() && !new.promoted;
        let mut events = self.events.iter().filter(|new| is_surprising(new));
        if events.any(|new| held.contains(new.event.id().as_str())) {
            return Ok(Err(Moved));
        }
        if let Some(alias) = &self.alias
            && aliases::is_taken(tx, alias).await?
        {
            return Ok(Err(Moved));
        }
        if let Some(room) = &self.room
            && !move_tip(tx, room, self.expected_tip).await?
        {
            return Ok(Err(Moved));
        }
        if let Some(alias) = &self.alias {
            aliases::insert(tx, alias).await?;
        }
        for group in &self.groups {
            let row: state_groups::ActiveModel = group.row(room_id)?;
            tx.insert_later(row);
        }
        let mut positions = Vec::with_capacity(self.events.len());
        for new in &self.events {
            let is_held = held.contains(new.event.id().as_str());
            positions.push(match is_held && new.log.is_none() && !new.promoted {
                // What is held stays as it is: if its body is gone, it is gone.
                true => None,
                false => write_event(tx, room_id, new).await?,
            });
        }
        if let Some(changed) = &self.resolved_state {
            tx.append(
                Scope::Room(room_id),
                LogKind::ResolvedState,
                Some(changed.clone()),
            );
        }
        rescinded::follow(tx, room_id, &self.events, &self.members).await?;
        for member in &self.members {
            write_membership(tx, room_id, member).await?;
        }
        stays::follow(tx, room_id, &self.members).await?;
        remote_devices::follow(tx, room_id, &self.members).await?;
        for transaction in &self.transactions {
            tx.insert_later_if_new(transaction_row(transaction));
        }
        if !self.redactions.is_empty() {
            // A target may come in the same transaction as its redaction.
            tx.flush().await?;
        }
        for (target, redaction) in &self.redactions {
            remove_body(tx, room_id, target, redaction).await?;
        }
        self.note_missing(tx, room_id).await?;
        if let Some(changed_ms) = self.policy_changed_ms {
            expiry::note_policy_change(tx, room_id, changed_ms).await?;
        }
        Ok(Ok(positions))
    }

    fn committed(&self, output: &Self::Output) {
        if let (Some(on_disk), Ok(positions)) = (&self.on_disk, output) {
            on_disk(positions);
        }
    }
}

impl RoomAppend {
    /// Those of the events that are held already, among those that may be.
    async fn held(&self, tx: &mut Tx) -> Result<HashSet<String>, StoreError> {
        // What is made here nobody can have given us before.
        let given = |new: &&NewEvent| new.log != Some(LogKind::OwedEvent);
        let given = self.events.iter().filter(given);
        let ids: Vec<&str> = given.map(|new| new.event.id().as_str()).collect();
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        tx.flush().await?;
        let mut held = HashSet::new();
        for some in ids.chunks(IDS_PER_QUERY_MAX) {
            let found: Vec<String> = events::Entity::find()
                .select_only()
                .column(events::Column::EventId)
                .filter(events::Column::EventId.is_in(some.iter().copied()))
                .into_tuple()
                .all(tx.connection())
                .await?;
            held.extend(found);
        }
        Ok(held)
    }

    async fn note_missing(&self, tx: &mut Tx, room: &OwnedRoomId) -> Result<(), StoreError> {
        for id in &self.missing {
            tx.insert_later_if_new(missing_events::ActiveModel {
                room_id: Set(room.as_str().to_owned()),
                event_id: Set(id.as_str().to_owned()),
            });
        }
        if !self.found.is_empty() {
            missing_events::Entity::delete_many()
                .filter(missing_events::Column::RoomId.eq(room.as_str()))
                .filter(
                    missing_events::Column::EventId.is_in(self.found.iter().map(|id| id.as_str())),
                )
                .exec(tx.connection())
                .await?;
        }
        Ok(())
    }
}

/// The compare-and-set on the room's row.
async fn move_tip(tx: &Tx, room: &RoomRow, expected: Option<i64>) -> Result<bool, StoreError> {
    let extremities = serde_json::to_string(&room.extremities)
        .map_err(|_| StoreError::corrupt("rooms", "extremities"))?;
    let Some(expected) = expected else {
        let row = rooms::ActiveModel {
            room_id: Set(room.room_id.as_str().to_owned()),
            version: Set(room.version.as_str().to_owned()),
            tip: Set(room.tip),
            state_revision: Set(room.state_revision),
            state_group: Set(room.state_group),
            extremities: Set(extremities),
            depth: Set(room.depth),
            order_min: Set(room.order_min),
            order_max: Set(room.order_max),
        };
        let inserted = rooms::Entity::insert(row)
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(tx.connection())
            .await?;
        return Ok(inserted == 1);
    };
    let updated = rooms::Entity::update_many()
        .col_expr(rooms::Column::Tip, Expr::value(room.tip))
        .col_expr(
            rooms::Column::StateRevision,
            Expr::value(room.state_revision),
        )
        .col_expr(rooms::Column::StateGroup, Expr::value(room.state_group))
        .col_expr(rooms::Column::Extremities, Expr::value(extremities))
        .col_expr(rooms::Column::Depth, Expr::value(room.depth))
        .col_expr(rooms::Column::OrderMin, Expr::value(room.order_min))
        .col_expr(rooms::Column::OrderMax, Expr::value(room.order_max))
        .filter(rooms::Column::RoomId.eq(room.room_id.as_str()))
        .filter(rooms::Column::Tip.eq(expected))
        .exec(tx.connection())
        .await?;
    Ok(updated.rows_affected == 1)
}

async fn write_event(
    tx: &mut Tx,
    room: &OwnedRoomId,
    new: &NewEvent,
) -> Result<Option<i64>, StoreError> {
    let id = new.event.id().as_str().to_owned();
    let position = new
        .log
        .map(|kind| tx.append(Scope::Room(room), kind, Some(id.clone())));
    if new.promoted {
        promote(tx, &new.event, position).await?;
    } else if new.log.is_none() {
        tx.insert_later_if_new(event_row(&new.event, None));
    } else {
        tx.insert_later(event_row(&new.event, position));
    }
    if let Some(body) = new.event.body()
        && let Some(row) = body_row(tx, &new.event, body)?
    {
        tx.insert_later_if_new(row);
    }
    if let Some((parent, rel_type)) = &new.relation {
        tx.insert_later_if_new(event_relations::ActiveModel {
            child: Set(id),
            parent: Set(parent.as_str().to_owned()),
            rel_type: Set(rel_type.clone()),
        });
    }
    Ok(position)
}

/// The body as it is stored: sealed if it expires. None if it must not be stored, since its key was destroyed.
fn body_row(
    tx: &Tx,
    event: &Event,
    body: &[u8],
) -> Result<Option<event_bodies::ActiveModel>, StoreError> {
    let (id, room) = (event.id().as_str(), event.pdu.room_id.as_str());
    let sealed = match (event.expiry_class, event.destroy_at) {
        (Some(class_ms), Some(destroy_at)) => {
            let slot = shred::slot(class_ms, destroy_at);
            tx.shredder().seal(slot, room, id, body)?
        }
        _ => Seal::Plain,
    };
    let (bytes, sealed_until) = match sealed {
        Seal::Plain => (body.to_vec(), None),
        Seal::Sealed { bytes, until_ms } => (bytes, Some(until_ms)),
        Seal::Destroyed => return Ok(None),
    };
    Ok(Some(event_bodies::ActiveModel {
        event_id: Set(id.to_owned()),
        body: Set(bytes),
        sealed_until: Set(sealed_until),
    }))
}

/// Gives an outlier its place in the graph, and the form in which the event came with it: where
/// the content stands in the skeleton belongs to the body, which the caller writes.
async fn promote(tx: &Tx, event: &Event, position: Option<i64>) -> Result<(), StoreError> {
    let content_at = event
        .content_at
        .map(|(at, len)| (i64::from(at), i64::from(len)));
    event_bodies::Entity::delete_by_id(event.id().as_str())
        .exec(tx.connection())
        .await?;
    events::Entity::update_many()
        .col_expr(
            events::Column::Skeleton,
            Expr::value(event.skeleton.to_vec()),
        )
        .col_expr(
            events::Column::ContentAt,
            Expr::value(content_at.map(|(at, _)| at)),
        )
        .col_expr(
            events::Column::ContentLen,
            Expr::value(content_at.map(|(_, len)| len)),
        )
        .col_expr(events::Column::RoomOrder, Expr::value(event.room_order))
        .col_expr(events::Column::Position, Expr::value(position))
        .col_expr(events::Column::StateBefore, Expr::value(event.state_before))
        .col_expr(events::Column::StateAfter, Expr::value(event.state_after))
        .col_expr(events::Column::Status, Expr::value(event.status as i16))
        .col_expr(events::Column::Deadline, Expr::value(event.deadline))
        .col_expr(events::Column::DestroyAt, Expr::value(event.destroy_at))
        .col_expr(events::Column::ExpiryClass, Expr::value(event.expiry_class))
        .filter(events::Column::EventId.eq(event.id().as_str()))
        .exec(tx.connection())
        .await?;
    Ok(())
}

fn event_row(event: &Event, position: Option<i64>) -> events::ActiveModel {
    let pdu = &event.pdu;
    events::ActiveModel {
        event_id: Set(pdu.event_id.as_str().to_owned()),
        room_id: Set(pdu.room_id.as_str().to_owned()),
        sender: Set(pdu.sender.as_str().to_owned()),
        kind: Set(pdu.kind.to_string()),
        state_key: Set(pdu.state_key.clone()),
        origin_server_ts: Set(i64::from(pdu.origin_server_ts.get())),
        received_ts: Set(event.received_ts),
        depth: Set(i64::try_from(pdu.depth).unwrap_or(i64::MAX)),
        room_order: Set(event.room_order),
        position: Set(position),
        state_before: Set(event.state_before),
        state_after: Set(event.state_after),
        status: Set(event.status as i16),
        skeleton: Set(event.skeleton.to_vec()),
        content_at: Set(event.content_at.and_then(|(at, _)| i32::try_from(at).ok())),
        content_len: Set(event
            .content_at
            .and_then(|(_, len)| i32::try_from(len).ok())),
        redacted_by: Set(event.redacted_by.as_ref().map(|id| id.as_str().to_owned())),
        deadline: Set(event.deadline),
        destroy_at: Set(event.destroy_at),
        expiry_class: Set(event.expiry_class),
    }
}

async fn write_membership(
    tx: &mut Tx,
    room: &OwnedRoomId,
    member: &NewMembership,
) -> Result<(), StoreError> {
    let position = if member.is_local {
        let reference = Some(room.as_str().to_owned());
        tx.append(Scope::User(&member.user_id), LogKind::Membership, reference)
    } else {
        tx.head()
    };
    let Some(membership) = &member.membership else {
        room_members::Entity::delete_by_id((
            room.as_str().to_owned(),
            member.user_id.as_str().to_owned(),
        ))
        .exec(tx.connection())
        .await?;
        return Ok(());
    };
    let row = room_members::ActiveModel {
        room_id: Set(room.as_str().to_owned()),
        user_id: Set(member.user_id.as_str().to_owned()),
        membership: Set(membership.as_str().to_owned()),
        event_id: Set(member.event_id.as_str().to_owned()),
        position: Set(position),
        is_local: Set(member.is_local),
        forgotten: Set(false),
        stripped_state: Set(member.stripped_state.clone()),
    };
    let update = OnConflict::columns([room_members::Column::RoomId, room_members::Column::UserId])
        .update_columns([
            room_members::Column::Membership,
            room_members::Column::EventId,
            room_members::Column::Position,
            room_members::Column::Forgotten,
            room_members::Column::StrippedState,
        ])
        .to_owned();
    room_members::Entity::insert(row)
        .on_conflict(update)
        .exec_without_returning(tx.connection())
        .await?;
    Ok(())
}

fn transaction_row(transaction: &NewTransaction) -> transaction_ids::ActiveModel {
    transaction_ids::ActiveModel {
        user_id: Set(transaction.user_id.as_str().to_owned()),
        device_id: Set(transaction.device_id.clone()),
        txn_key: Set(transaction.key.clone()),
        event_id: Set(transaction.event_id.as_str().to_owned()),
        created_ts: Set(transaction.created_ts),
    }
}

async fn remove_body(
    tx: &mut Tx,
    room: &OwnedRoomId,
    target: &OwnedEventId,
    redaction: &OwnedEventId,
) -> Result<(), StoreError> {
    let sealed = event_bodies::Entity::find_by_id(target.as_str())
        .filter(event_bodies::Column::SealedUntil.is_not_null())
        .one(tx.connection())
        .await?;
    // Its copies in backups die with it, not only when the bucket ends.
    tx.kill(sealed.and_then(|row| Shredder::kill(room.as_str(), target.as_str(), &row.body)));
    event_bodies::Entity::delete_by_id(target.as_str().to_owned())
        .exec(tx.connection())
        .await?;
    event_relations::Entity::delete_by_id(target.as_str().to_owned())
        .exec(tx.connection())
        .await?;
    events::Entity::update_many()
        .col_expr(
            events::Column::RedactedBy,
            Expr::value(Some(redaction.as_str().to_owned())),
        )
        .filter(events::Column::EventId.eq(target.as_str()))
        .filter(events::Column::RedactedBy.is_null())
        .exec(tx.connection())
        .await?;
    Ok(())
}
