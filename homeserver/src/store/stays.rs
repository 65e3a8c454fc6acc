//! Keeps the intervals in which other servers are joined, as part of each append to a room.
//!
//! Invariant: after an append, a server has an open interval in the room exactly if one of its users is joined. A change is
//! told to the log in the server's own scope, with the room as reference, so that whoever remembers intervals can forget.

use std::collections::BTreeSet;

use ruma::{RoomId, ServerName};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict},
};

use super::{
    LogKind, Membership, NewMembership, Scope, StoreError, Tx,
    entity::{destination_rooms as stays, destinations, room_members},
};

/// Servers that one query asks for.
const SERVERS_PER_QUERY_MAX: usize = 500;

/// Opens and closes intervals after `members` have been written.
pub(super) async fn follow(
    tx: &mut Tx,
    room: &RoomId,
    members: &[NewMembership],
) -> Result<(), StoreError> {
    let remote = members.iter().filter(|member| !member.is_local);
    let mut touched: BTreeSet<&ServerName> = BTreeSet::new();
    let mut joined: BTreeSet<&ServerName> = BTreeSet::new();
    for member in remote {
        let server = member.user_id.server_name();
        touched.insert(server);
        if member.membership == Some(Membership::Join) {
            joined.insert(server);
        }
    }
    if touched.is_empty() {
        return Ok(());
    }
    let touched: Vec<&ServerName> = touched.into_iter().collect();
    for some in touched.chunks(SERVERS_PER_QUERY_MAX) {
        let open = open_among(tx, room, some).await?;
        for server in some {
            let is_open = open.contains(server.as_str());
            // The order of the changes within one append decides, so a join among them is not the last word.
            let is_joined = match joined.contains(server) || is_open {
                true => has_joined_user(tx, room, server).await?,
                false => false,
            };
            if is_joined && !is_open {
                open_stay(tx, room, server).await?;
            } else if !is_joined && is_open {
                close_stay(tx, room, server).await?;
            }
        }
    }
    Ok(())
}

/// Which of these servers have an open interval.
pub(super) async fn open_among(
    tx: &Tx,
    room: &RoomId,
    servers: &[&ServerName],
) -> Result<BTreeSet<String>, StoreError> {
    let names: Vec<String> = stays::Entity::find()
        .select_only()
        .column(stays::Column::Destination)
        .filter(stays::Column::RoomId.eq(room.as_str()))
        .filter(stays::Column::Destination.is_in(servers.iter().map(|server| server.as_str())))
        .filter(stays::Column::LeftAt.is_null())
        .into_tuple()
        .all(tx.connection())
        .await?;
    Ok(names.into_iter().collect())
}

async fn has_joined_user(tx: &Tx, room: &RoomId, server: &ServerName) -> Result<bool, StoreError> {
    // Server names hold neither of LIKE's wildcards; a name of digits alone is not the port of another.
    let count = room_members::Entity::find()
        .filter(room_members::Column::RoomId.eq(room.as_str()))
        .filter(room_members::Column::Membership.eq(Membership::Join.as_str()))
        .filter(room_members::Column::UserId.like(format!("%:{server}")))
        .filter(room_members::Column::UserId.not_like(format!("%:%:{server}")))
        .limit(1)
        .count(tx.connection())
        .await?;
    Ok(count > 0)
}

async fn open_stay(tx: &mut Tx, room: &RoomId, server: &ServerName) -> Result<(), StoreError> {
    let from = announce(tx, room, server);
    let replace = OnConflict::columns([stays::Column::Destination, stays::Column::RoomId])
        .update_columns([stays::Column::JoinedFrom, stays::Column::LeftAt])
        .to_owned();
    let stay = stays::ActiveModel {
        destination: Set(server.to_string()),
        room_id: Set(room.to_string()),
        joined_from: Set(from),
        left_at: Set(None),
    };
    stays::Entity::insert(stay)
        .on_conflict(replace)
        .exec_without_returning(tx.connection())
        .await?;
    begin_destination(tx, server, from).await
}

/// Makes sure that a server has a row, so that it is thought of after a restart; a new one begins at `cursor`.
pub(super) async fn begin_destination(
    tx: &Tx,
    server: &ServerName,
    cursor: i64,
) -> Result<(), StoreError> {
    let destination = destinations::ActiveModel {
        destination: Set(server.to_string()),
        cursor: Set(cursor),
        catch_up_through: Set(None),
        failures: Set(0),
        failing_since_ts: Set(None),
        retry_at_ts: Set(0),
        in_flight_id: Set(None),
        in_flight_through: Set(None),
        in_flight: Set(None),
    };
    let keep = OnConflict::column(destinations::Column::Destination)
        .do_nothing()
        .to_owned();
    destinations::Entity::insert(destination)
        .on_conflict(keep)
        .exec_without_returning(tx.connection())
        .await?;
    Ok(())
}

async fn close_stay(tx: &mut Tx, room: &RoomId, server: &ServerName) -> Result<(), StoreError> {
    let at = announce(tx, room, server);
    stays::Entity::update_many()
        .col_expr(stays::Column::LeftAt, Expr::value(at))
        .filter(stays::Column::Destination.eq(server.as_str()))
        .filter(stays::Column::RoomId.eq(room.as_str()))
        .exec(tx.connection())
        .await?;
    Ok(())
}

fn announce(tx: &mut Tx, room: &RoomId, server: &ServerName) -> i64 {
    let reference = Some(room.to_string());
    tx.append(
        Scope::Destination(server),
        LogKind::ForDestination,
        reference,
    )
}
