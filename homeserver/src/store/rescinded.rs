//! Ends of invites and knocks, for the servers of users who never came.
//!
//! Invariant: a server that was told of an invite, or made a knock, and is not in the room is owed the event of ours that ends
//! it, and the end of a ban that it was told of so: the one kind of event that no interval of [`super::Stay`] covers. It is noted in the server's own scope of the log, with
//! the event as reference.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>

use std::collections::HashMap;

use ruma::{EventId, OwnedEventId, OwnedUserId, RoomId, ServerName};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect};

use super::{
    LogEnd, LogKind, Membership, NewEvent, NewMembership, Scope, Store, StoreError, Tx,
    entity::{log, room_members},
    stays,
};

/// Users that one query asks for.
const USERS_PER_QUERY_MAX: usize = 500;

/// Notes the events among `events` that end an invite or a knock, before `members` are written.
pub(super) async fn follow(
    tx: &mut Tx,
    room: &RoomId,
    events: &[NewEvent],
    members: &[NewMembership],
) -> Result<(), StoreError> {
    let is_ours = |id: &EventId| {
        let mut owed = events.iter();
        owed.any(|new| new.log == Some(LogKind::OwedEvent) && new.event.id() == id)
    };
    let ended = members.iter().filter(|member| {
        let is_end = matches!(member.membership, Some(Membership::Leave | Membership::Ban));
        !member.is_local && is_end && is_ours(&member.event_id)
    });
    let ended: Vec<(&OwnedUserId, &OwnedEventId)> = ended
        .map(|member| (&member.user_id, &member.event_id))
        .collect();
    for some in ended.chunks(USERS_PER_QUERY_MAX) {
        let before = memberships(tx, room, some).await?;
        for (user, event) in some {
            let server = user.server_name();
            let is_owed = match before.get(user.as_str()) {
                Some((membership, _)) if matches!(&**membership, "invite" | "knock") => true,
                Some((membership, ban)) if membership == "ban" => was_told(tx, server, ban).await?,
                _ => false,
            };
            if is_owed && stays::open_among(tx, room, &[server]).await?.is_empty() {
                owe(tx, server, event).await?;
            }
        }
    }
    Ok(())
}

async fn memberships(
    tx: &Tx,
    room: &RoomId,
    users: &[(&OwnedUserId, &OwnedEventId)],
) -> Result<HashMap<String, (String, String)>, StoreError> {
    let users = users.iter().map(|(user, _)| user.as_str());
    let rows: Vec<(String, String, String)> = room_members::Entity::find()
        .select_only()
        .column(room_members::Column::UserId)
        .column(room_members::Column::Membership)
        .column(room_members::Column::EventId)
        .filter(room_members::Column::RoomId.eq(room.as_str()))
        .filter(room_members::Column::UserId.is_in(users))
        .into_tuple()
        .all(tx.connection())
        .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|(user, what, event)| (user, (what, event)))
        .collect())
}

/// Whether a server that is not in the room was told of an event all the same.
async fn was_told(tx: &Tx, server: &ServerName, event: &str) -> Result<bool, StoreError> {
    let told = log::Entity::find()
        .filter(log::Column::Scope.eq(Scope::Destination(server).to_string()))
        .filter(log::Column::Reference.eq(event))
        .limit(1)
        .count(tx.connection());
    Ok(told.await? > 0)
}

async fn owe(tx: &mut Tx, server: &ServerName, event: &EventId) -> Result<(), StoreError> {
    let reference = Some(event.to_string());
    let scope = Scope::Destination(server);
    let position = tx.append(scope, LogKind::ForDestination, reference);
    stays::begin_destination(tx, server, position - 1).await
}

impl Store {
    /// The events that are owed to this server alone with `after < position <= through`, oldest first, and up to which position
    /// that is all: at most `limit` rows are looked at.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] for an unreadable row.
    pub async fn events_owed_alone(
        &self,
        server: &ServerName,
        after: i64,
        through: i64,
        limit: u64,
    ) -> Result<(Vec<(i64, OwnedEventId)>, i64), StoreError> {
        let scope = Scope::Destination(server);
        let rows = self
            .log_of(scope, after, through, LogEnd::Oldest, limit)
            .await?;
        let is_all = u64::try_from(rows.len()).is_ok_and(|count| count < limit);
        let complete = match rows.last() {
            Some(last) if !is_all => last.position,
            _ => through,
        };
        // Other rows of this scope refer to a room, or to nothing.
        let events = rows.into_iter().filter_map(|row| {
            let id = row.reference.filter(|id| id.starts_with('$'))?;
            Some((row.position, OwnedEventId::try_from(id).ok()?))
        });
        Ok((events.collect(), complete))
    }
}
