//! Devices and cross-signing keys of users of other servers, as long as we share a room with them.
//!
//! Invariant: a list is kept only while its server tells us of changes, which it does while we share a room; when the user
//! leaves a room, or we come into one, the list is forgotten and fetched anew when it is needed. Every change is told to
//! local clients by the log.

use std::collections::BTreeMap;

use ruma::{OwnedDeviceId, OwnedUserId, RoomId, UserId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict, Query},
};
use serde_json::value::RawValue;

use super::{
    Change, LogKind, Membership, NewMembership, Scope, Store, StoreError, Tx,
    entity::{remote_device_lists as lists, remote_devices as devices, room_members},
};

/// Users that one query asks for.
const USERS_PER_QUERY_MAX: usize = 500;

/// One remote user's devices and keys.
#[derive(Clone, Debug, Default)]
pub struct RemoteDeviceList {
    /// The version of the list, as the user's server counts.
    pub stream_id: i64,
    /// Identity keys by device.
    pub devices: BTreeMap<OwnedDeviceId, Box<RawValue>>,
    /// The master key.
    pub master_key: Option<Box<RawValue>>,
    /// The self-signing key.
    pub self_signing_key: Option<Box<RawValue>>,
}

impl Store {
    /// The lists of those of these users that are known and miss no change.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] for keys that are no JSON.
    pub async fn remote_device_lists(
        &self,
        users: &[&UserId],
    ) -> Result<BTreeMap<OwnedUserId, RemoteDeviceList>, StoreError> {
        let mut found = BTreeMap::new();
        for some in users.chunks(USERS_PER_QUERY_MAX) {
            let ids = || some.iter().map(|user| user.as_str());
            let rows = lists::Entity::find()
                .filter(lists::Column::UserId.is_in(ids()))
                .filter(lists::Column::Stale.eq(false))
                .all(self.reader())
                .await?;
            for row in rows {
                let list = RemoteDeviceList {
                    stream_id: row.stream_id,
                    devices: BTreeMap::new(),
                    master_key: row.master_key.map(raw).transpose()?,
                    self_signing_key: row.self_signing_key.map(raw).transpose()?,
                };
                found.insert(user_id(row.user_id)?, list);
            }
            let rows = devices::Entity::find()
                .filter(devices::Column::UserId.is_in(ids()))
                .all(self.reader())
                .await?;
            for row in rows {
                let list = found.get_mut(&user_id(row.user_id)?);
                if let (Some(list), Some(keys)) = (list, row.keys) {
                    list.devices.insert(row.device_id.into(), raw(keys)?);
                }
            }
        }
        Ok(found)
    }

    /// Those of these remote users who are joined in a room in which one of ours is.
    ///
    /// # Errors
    /// As [`Store::remote_device_lists`].
    pub async fn users_we_share_with(
        &self,
        users: &[&UserId],
    ) -> Result<Vec<OwnedUserId>, StoreError> {
        shared(self.reader(), users).await
    }
}

async fn shared(
    connection: &impl ConnectionTrait,
    users: &[&UserId],
) -> Result<Vec<OwnedUserId>, StoreError> {
    // Asked of each of their rooms: all rooms that ours are in would be far more.
    let of_ours = |column| Expr::col(("ours", column));
    let ours = Query::select()
        .expr(Expr::val(1))
        .from_as(room_members::Entity, "ours")
        .and_where(
            of_ours(room_members::Column::RoomId)
                .equals((room_members::Entity, room_members::Column::RoomId)),
        )
        .and_where(of_ours(room_members::Column::IsLocal).eq(true))
        .and_where(of_ours(room_members::Column::Membership).eq(Membership::Join.as_str()))
        .to_owned();
    let mut found = Vec::new();
    for some in users.chunks(USERS_PER_QUERY_MAX) {
        let names: Vec<String> = room_members::Entity::find()
            .select_only()
            .column(room_members::Column::UserId)
            .distinct()
            .filter(room_members::Column::UserId.is_in(some.iter().map(|user| user.as_str())))
            .filter(room_members::Column::Membership.eq(Membership::Join.as_str()))
            .filter(Expr::exists(ours.clone()))
            .into_tuple()
            .all(connection)
            .await?;
        for name in names {
            found.push(user_id(name)?);
        }
    }
    Ok(found)
}

fn raw(json: String) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(json).map_err(|_| StoreError::corrupt("remote_devices", "keys"))
}

fn user_id(id: String) -> Result<OwnedUserId, StoreError> {
    OwnedUserId::try_from(id).map_err(|_| StoreError::corrupt("remote_device_lists", "user_id"))
}

/// Keeps a list that was fetched as a whole, unless it may be old already: a change was told since it was asked for, or we
/// share no room with the user any longer and hear of none.
#[derive(Clone, Debug)]
pub struct StoreRemoteDevices {
    /// Whose.
    pub user_id: OwnedUserId,
    /// The newest position of the user's [`Scope::Keys`] when the list was asked for.
    pub asked_at: i64,
    /// The list.
    pub list: RemoteDeviceList,
}

impl Change for StoreRemoteDevices {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let changed_at = tx.newest_in_log(Scope::Keys(&self.user_id)).await?;
        if changed_at > self.asked_at || shared(tx.connection(), &[&self.user_id]).await?.is_empty()
        {
            return Ok(());
        }
        forget(tx, std::slice::from_ref(&self.user_id.to_string())).await?;
        let text = |json: &Option<Box<RawValue>>| json.as_ref().map(|json| json.get().to_owned());
        let row = lists::ActiveModel {
            user_id: Set(self.user_id.to_string()),
            stream_id: Set(self.list.stream_id),
            stale: Set(false),
            master_key: Set(text(&self.list.master_key)),
            self_signing_key: Set(text(&self.list.self_signing_key)),
        };
        lists::Entity::insert(row)
            .exec_without_returning(tx.connection())
            .await?;
        for (device, keys) in &self.list.devices {
            put_device(tx, &self.user_id, device, keys).await?;
        }
        Ok(())
    }
}

/// A change that a user's server tells of.
#[derive(Clone, Debug)]
pub enum RemoteChange {
    /// A device came, changed or (without keys) went.
    Device {
        /// Which.
        device_id: OwnedDeviceId,
        /// Its keys.
        keys: Option<Box<RawValue>>,
        /// The version after the change.
        stream_id: i64,
        /// The versions before it.
        prev_id: Vec<i64>,
    },
    /// Cross-signing keys changed: those that are given.
    CrossSigning {
        /// The master key.
        master_key: Option<Box<RawValue>>,
        /// The self-signing key.
        self_signing_key: Option<Box<RawValue>>,
    },
}

/// Takes over a change of a remote user, or marks the list as stale if one before it was missed. Local clients are told
/// either way.
#[derive(Clone, Debug)]
pub struct ChangeRemoteDevices {
    /// Whose.
    pub user_id: OwnedUserId,
    /// What changed.
    pub change: RemoteChange,
}

impl Change for ChangeRemoteDevices {
    /// Whether the list is known and complete after it.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let row = lists::Entity::find_by_id(self.user_id.as_str())
            .one(tx.connection())
            .await?;
        let reference = match &self.change {
            RemoteChange::Device { device_id, .. } => Some(device_id.to_string()),
            RemoteChange::CrossSigning { .. } => None,
        };
        // Clients are told even of what the list holds already: one may have been answered from an older list, fetched for it
        // beside that which is kept.
        tx.append(Scope::Keys(&self.user_id), LogKind::DeviceList, reference);
        let Some(row) = row.filter(|row| !row.stale) else {
            return Ok(false);
        };
        match &self.change {
            RemoteChange::Device {
                device_id,
                keys,
                stream_id,
                prev_id,
            } => {
                if *stream_id <= row.stream_id {
                    return Ok(true);
                }
                let is_next = prev_id.iter().all(|prev| *prev == row.stream_id);
                if is_next {
                    match keys {
                        Some(keys) => put_device(tx, &self.user_id, device_id, keys).await?,
                        None => drop_device(tx, &self.user_id, device_id).await?,
                    }
                }
                let stream_id = if is_next { *stream_id } else { row.stream_id };
                self.mark(tx, stream_id, !is_next).await?;
                Ok(is_next)
            }
            RemoteChange::CrossSigning {
                master_key,
                self_signing_key,
            } => {
                self.set_keys(tx, master_key, self_signing_key).await?;
                Ok(true)
            }
        }
    }
}

impl ChangeRemoteDevices {
    async fn mark(&self, tx: &Tx, stream_id: i64, stale: bool) -> Result<(), StoreError> {
        lists::Entity::update_many()
            .col_expr(lists::Column::StreamId, Expr::value(stream_id))
            .col_expr(lists::Column::Stale, Expr::value(stale))
            .filter(lists::Column::UserId.eq(self.user_id.as_str()))
            .exec(tx.connection())
            .await?;
        Ok(())
    }

    async fn set_keys(
        &self,
        tx: &Tx,
        master_key: &Option<Box<RawValue>>,
        self_signing_key: &Option<Box<RawValue>>,
    ) -> Result<(), StoreError> {
        for (column, key) in [
            (lists::Column::MasterKey, master_key),
            (lists::Column::SelfSigningKey, self_signing_key),
        ] {
            if let Some(key) = key {
                lists::Entity::update_many()
                    .col_expr(column, Expr::value(key.get()))
                    .filter(lists::Column::UserId.eq(self.user_id.as_str()))
                    .exec(tx.connection())
                    .await?;
            }
        }
        Ok(())
    }
}

async fn put_device(
    tx: &Tx,
    user: &OwnedUserId,
    device: &OwnedDeviceId,
    keys: &RawValue,
) -> Result<(), StoreError> {
    let row = devices::ActiveModel {
        user_id: Set(user.to_string()),
        device_id: Set(device.to_string()),
        display_name: Set(None),
        keys: Set(Some(keys.get().to_owned())),
    };
    let replace = OnConflict::columns([devices::Column::UserId, devices::Column::DeviceId])
        .update_column(devices::Column::Keys)
        .to_owned();
    devices::Entity::insert(row)
        .on_conflict(replace)
        .exec_without_returning(tx.connection())
        .await?;
    Ok(())
}

async fn drop_device(
    tx: &Tx,
    user: &OwnedUserId,
    device: &OwnedDeviceId,
) -> Result<(), StoreError> {
    devices::Entity::delete_by_id((user.to_string(), device.to_string()))
        .exec(tx.connection())
        .await?;
    Ok(())
}

async fn forget(tx: &Tx, users: &[String]) -> Result<(), StoreError> {
    for some in users.chunks(USERS_PER_QUERY_MAX) {
        lists::Entity::delete_many()
            .filter(lists::Column::UserId.is_in(some.iter().map(String::as_str)))
            .exec(tx.connection())
            .await?;
        devices::Entity::delete_many()
            .filter(devices::Column::UserId.is_in(some.iter().map(String::as_str)))
            .exec(tx.connection())
            .await?;
    }
    Ok(())
}

/// Forgets the lists that an append to a room ends: of remote users who leave, and of all remote users in a room that we
/// come into.
pub(super) async fn follow(
    tx: &mut Tx,
    room: &RoomId,
    members: &[NewMembership],
) -> Result<(), StoreError> {
    let is_join = |member: &NewMembership| member.membership == Some(Membership::Join);
    let mut ended: Vec<String> = members
        .iter()
        .filter(|member| !member.is_local && !is_join(member))
        .map(|member| member.user_id.to_string())
        .collect();
    let joining = members
        .iter()
        .filter(|member| member.is_local && is_join(member))
        .count() as u64;
    if joining > 0 && local_joined(tx, room).await? <= joining {
        let names: Vec<String> = room_members::Entity::find()
            .select_only()
            .column(room_members::Column::UserId)
            .filter(room_members::Column::RoomId.eq(room.as_str()))
            .filter(room_members::Column::IsLocal.eq(false))
            .into_tuple()
            .all(tx.connection())
            .await?;
        ended.extend(names);
    }
    if ended.is_empty() {
        return Ok(());
    }
    forget(tx, &ended).await
}

async fn local_joined(tx: &Tx, room: &RoomId) -> Result<u64, StoreError> {
    Ok(room_members::Entity::find()
        .filter(room_members::Column::RoomId.eq(room.as_str()))
        .filter(room_members::Column::IsLocal.eq(true))
        .filter(room_members::Column::Membership.eq(Membership::Join.as_str()))
        .count(tx.connection())
        .await?)
}
