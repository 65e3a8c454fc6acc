//! Devices of local users.
//!
//! Invariant: when a device goes, everything that belongs to it goes in the same transaction, and
//! those who share a room with its user learn of it.

use std::collections::HashMap;

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr};

use super::{
    Change, LogKind, Scope, Store, StoreError, Tx,
    entity::{
        dehydrated_devices, device_keys, devices, fallback_keys, one_time_keys, pushers, sessions,
        to_device, to_device_transactions, transaction_ids,
    },
};

/// Users that one query asks for.
const USERS_PER_QUERY_MAX: usize = 500;

/// A device of a local user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id, unique for the user.
    pub device_id: OwnedDeviceId,
    /// What the user calls it.
    pub display_name: Option<String>,
    /// The day on which it was last used, in days since the Unix epoch.
    pub seen_day: i64,
}

impl From<devices::Model> for Device {
    fn from(row: devices::Model) -> Self {
        Self {
            device_id: row.device_id.into(),
            display_name: row.display_name,
            seen_day: row.seen_day,
        }
    }
}

impl Store {
    /// The devices of a user, in the order of their ids.
    ///
    /// # Errors
    /// What the database says.
    pub async fn devices(&self, user: &UserId) -> Result<Vec<Device>, StoreError> {
        let rows = devices::Entity::find()
            .filter(devices::Column::UserId.eq(user.as_str()))
            .order_by_asc(devices::Column::DeviceId)
            .all(self.reader())
            .await?;
        Ok(rows.into_iter().map(Device::from).collect())
    }

    /// The devices of several users, as (user, device), in no order.
    ///
    /// # Errors
    /// What the database says.
    pub async fn device_ids_of(
        &self,
        users: &[&UserId],
    ) -> Result<Vec<(OwnedUserId, OwnedDeviceId)>, StoreError> {
        let rows: Vec<(String, String)> = devices::Entity::find()
            .select_only()
            .column(devices::Column::UserId)
            .column(devices::Column::DeviceId)
            .filter(devices::Column::UserId.is_in(users.iter().map(|user| user.as_str())))
            .into_tuple()
            .all(self.reader())
            .await?;
        rows.into_iter()
            .map(|(user, device)| {
                let user =
                    UserId::parse(user).map_err(|_| StoreError::corrupt("devices", "user_id"))?;
                Ok((user, device.into()))
            })
            .collect()
    }
}

impl Store {
    /// What users call their devices, by user and device; those without a name are left out.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a row cannot be read.
    pub async fn device_names_of(
        &self,
        users: &[&UserId],
    ) -> Result<HashMap<(OwnedUserId, OwnedDeviceId), String>, StoreError> {
        let mut names = HashMap::new();
        for some in users.chunks(USERS_PER_QUERY_MAX) {
            let rows: Vec<(String, String, String)> = devices::Entity::find()
                .select_only()
                .column(devices::Column::UserId)
                .column(devices::Column::DeviceId)
                .column(devices::Column::DisplayName)
                .filter(devices::Column::UserId.is_in(some.iter().map(|user| user.as_str())))
                .filter(devices::Column::DisplayName.is_not_null())
                .into_tuple()
                .all(self.reader())
                .await?;
            for (user, device, name) in rows {
                let user =
                    UserId::parse(user).map_err(|_| StoreError::corrupt("devices", "user_id"))?;
                names.insert((user, device.into()), name);
            }
        }
        Ok(names)
    }
}

/// Ids of a user's devices, inside the writer's transaction.
pub(super) async fn ids(tx: &Tx, user: &UserId) -> Result<Vec<OwnedDeviceId>, StoreError> {
    let ids: Vec<String> = devices::Entity::find()
        .select_only()
        .column(devices::Column::DeviceId)
        .filter(devices::Column::UserId.eq(user.as_str()))
        .into_tuple()
        .all(tx.connection())
        .await?;
    Ok(ids.into_iter().map(OwnedDeviceId::from).collect())
}

/// Deletes devices with all that is theirs; answers the ids of the sessions that ended.
pub(super) async fn forget(
    tx: &mut Tx,
    user: &UserId,
    devices: &[OwnedDeviceId],
) -> Result<Vec<String>, StoreError> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let ids = || devices.iter().map(|device| device.as_str());
    let ended: Vec<String> = sessions::Entity::find()
        .select_only()
        .column(sessions::Column::Id)
        .filter(sessions::Column::UserId.eq(user.as_str()))
        .filter(sessions::Column::DeviceId.is_in(ids()))
        .into_tuple()
        .all(tx.connection())
        .await?;
    macro_rules! delete_from {
        ($($table:ident),*) => {$(
            $table::Entity::delete_many()
                .filter($table::Column::UserId.eq(user.as_str()))
                .filter($table::Column::DeviceId.is_in(ids()))
                .exec(tx.connection())
                .await?;
        )*};
    }
    delete_from!(
        sessions,
        devices,
        dehydrated_devices,
        device_keys,
        one_time_keys,
        fallback_keys,
        to_device,
        to_device_transactions,
        transaction_ids,
        pushers
    );
    for device in devices {
        let reference = Some(device.to_string());
        tx.append(Scope::Keys(user), LogKind::DeviceList, reference);
    }
    Ok(ended)
}

/// Deletes devices of one user. Ids that he does not have are passed over.
#[derive(Clone, Debug)]
pub struct DeleteDevices {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Which; all if none is given.
    pub devices: Option<Vec<OwnedDeviceId>>,
}

impl Change for DeleteDevices {
    /// The ids of the sessions that ended.
    type Output = Vec<String>;

    async fn apply(&self, tx: &mut Tx) -> Result<Vec<String>, StoreError> {
        let mut devices = ids(tx, &self.user_id).await?;
        if let Some(wanted) = &self.devices {
            devices.retain(|device| wanted.contains(device));
        }
        forget(tx, &self.user_id, &devices).await
    }
}

/// Renames a device.
#[derive(Clone, Debug)]
pub struct RenameDevice {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Which.
    pub device_id: OwnedDeviceId,
    /// What the user calls it from now on; `None` leaves the name as it is.
    pub display_name: Option<String>,
}

impl Change for RenameDevice {
    /// Whether there is such a device.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let Some(display_name) = &self.display_name else {
            let key = (self.user_id.to_string(), self.device_id.to_string());
            let device = devices::Entity::find_by_id(key)
                .one(tx.connection())
                .await?;
            return Ok(device.is_some());
        };
        let updated = devices::Entity::update_many()
            .col_expr(
                devices::Column::DisplayName,
                Expr::value(display_name.clone()),
            )
            .filter(devices::Column::UserId.eq(self.user_id.as_str()))
            .filter(devices::Column::DeviceId.eq(self.device_id.as_str()))
            .exec(tx.connection())
            .await?;
        if updated.rows_affected == 0 {
            return Ok(false);
        }
        let reference = Some(self.device_id.to_string());
        tx.append(Scope::Keys(&self.user_id), LogKind::DeviceList, reference);
        Ok(true)
    }
}

/// Notes the day on which a device was used.
#[derive(Clone, Debug)]
pub(crate) struct TouchDevice {
    /// Whose.
    pub(crate) user_id: OwnedUserId,
    /// Which.
    pub(crate) device_id: OwnedDeviceId,
    /// The day, in days since the Unix epoch.
    pub(crate) day: i64,
}

impl Change for TouchDevice {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        devices::Entity::update_many()
            .col_expr(devices::Column::SeenDay, Expr::value(self.day))
            .filter(devices::Column::UserId.eq(self.user_id.as_str()))
            .filter(devices::Column::DeviceId.eq(self.device_id.as_str()))
            .exec(tx.connection())
            .await?;
        Ok(())
    }
}
