//! Messages to devices, and what is owed to single servers.
//!
//! Invariant: a message is deleted only once its device has presented a token at or above its
//! position, or its lifetime is over. A request that was carried out is not carried out again.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging>

use std::collections::{BTreeSet, HashMap};

use ruma::{DeviceId, OwnedDeviceId, OwnedServerName, OwnedUserId, ServerName, UserId};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};
use serde_json::value::RawValue;

use super::{
    Change, LogKind, Scope, Store, StoreError, Tx,
    entity::{devices, outbound_edus, to_device, to_device_transactions},
};

/// A message that waits for its device.
#[derive(Clone, Debug)]
pub struct ToDeviceMessage {
    /// Its position in the log.
    pub position: i64,
    /// The event, with `sender`, `type` and `content`.
    pub event: Box<RawValue>,
}

/// A message about to be stored.
#[derive(Clone, Debug)]
pub struct NewToDevice {
    /// To whom, a local user.
    pub user_id: OwnedUserId,
    /// To which device; to all if none is given.
    pub device_id: Option<OwnedDeviceId>,
    /// The event, as JSON.
    pub event: String,
    /// When it is dropped if nobody has fetched it, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
}

/// Something about to be owed to one server.
#[derive(Clone, Debug)]
pub struct NewEdu {
    /// To which server.
    pub destination: OwnedServerName,
    /// The EDU, as JSON.
    pub body: String,
    /// When it is dropped if it was not sent, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
}

/// The client's request that messages come from.
#[derive(Clone, Debug)]
pub struct ToDeviceTransaction {
    /// Who sends.
    pub user_id: OwnedUserId,
    /// From which device.
    pub device_id: OwnedDeviceId,
    /// The type of the messages.
    pub event_type: String,
    /// The transaction id.
    pub txn_id: String,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// Stores messages for local devices and owes others to their servers, together.
#[derive(Clone, Debug)]
pub struct SendToDevice {
    /// The client's request; none for messages from another server.
    pub transaction: Option<ToDeviceTransaction>,
    /// Messages for local devices. Those for devices that do not exist are dropped.
    pub local: Vec<NewToDevice>,
    /// What is owed to other servers.
    pub remote: Vec<NewEdu>,
}

impl Change for SendToDevice {
    /// Whether it was carried out now: not if the same request had been before.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        if let Some(transaction) = &self.transaction
            && !is_new(tx, transaction).await?
        {
            return Ok(false);
        }
        let devices = self.local_devices(tx).await?;
        for message in &self.local {
            let Some(known) = devices.get(message.user_id.as_str()) else {
                continue;
            };
            match &message.device_id {
                Some(device) if known.contains(device) => deliver(tx, message, device),
                Some(_) => {}
                None => known.iter().for_each(|device| deliver(tx, message, device)),
            }
        }
        for edu in &self.remote {
            queue_edu(tx, edu);
        }
        Ok(true)
    }
}

impl SendToDevice {
    /// The devices of those who are written to, in one read.
    async fn local_devices(
        &self,
        tx: &Tx,
    ) -> Result<HashMap<String, BTreeSet<OwnedDeviceId>>, StoreError> {
        let mut devices: HashMap<String, BTreeSet<OwnedDeviceId>> = HashMap::new();
        if self.local.is_empty() {
            return Ok(devices);
        }
        let users: BTreeSet<&str> = self
            .local
            .iter()
            .map(|message| message.user_id.as_str())
            .collect();
        let rows: Vec<(String, String)> = devices::Entity::find()
            .select_only()
            .column(devices::Column::UserId)
            .column(devices::Column::DeviceId)
            .filter(devices::Column::UserId.is_in(users))
            .into_tuple()
            .all(tx.connection())
            .await?;
        for (user, device) in rows {
            devices.entry(user).or_default().insert(device.into());
        }
        Ok(devices)
    }
}

/// Notes a request; answers whether it is new.
async fn is_new(tx: &Tx, transaction: &ToDeviceTransaction) -> Result<bool, StoreError> {
    let row = to_device_transactions::ActiveModel {
        user_id: Set(transaction.user_id.to_string()),
        device_id: Set(transaction.device_id.to_string()),
        event_type: Set(transaction.event_type.clone()),
        txn_id: Set(transaction.txn_id.clone()),
        created_ms: Set(transaction.now_ms),
    };
    let inserted = to_device_transactions::Entity::insert(row)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(tx.connection())
        .await?;
    Ok(inserted == 1)
}

fn deliver(tx: &mut Tx, message: &NewToDevice, device: &DeviceId) {
    let scope = Scope::Device(&message.user_id, device);
    let position = tx.append(scope, LogKind::ToDevice, None);
    tx.insert_later(to_device::ActiveModel {
        position: Set(position),
        user_id: Set(message.user_id.to_string()),
        device_id: Set(device.to_string()),
        content: Set(message.event.clone()),
        expires_ms: Set(message.expires_ms),
    });
}

/// Owes something to one server, inside a change that makes it so.
pub fn queue_edu(tx: &mut Tx, edu: &NewEdu) {
    let scope = Scope::Destination(&edu.destination);
    let position = tx.append(scope, LogKind::ForDestination, None);
    tx.insert_later(outbound_edus::ActiveModel {
        position: Set(position),
        destination: Set(edu.destination.to_string()),
        body: Set(edu.body.clone()),
        expires_ms: Set(edu.expires_ms),
    });
}

impl Store {
    /// The messages of a device with `after < position <= upto`, oldest first, at most `limit`,
    /// without those whose lifetime is over at `now_ms`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn to_device_of(
        &self,
        user: &UserId,
        device: &DeviceId,
        after: i64,
        upto: i64,
        limit: u64,
        now_ms: i64,
    ) -> Result<Vec<ToDeviceMessage>, StoreError> {
        let alive = Condition::any()
            .add(to_device::Column::ExpiresMs.is_null())
            .add(to_device::Column::ExpiresMs.gt(now_ms));
        let rows: Vec<(i64, String)> = to_device::Entity::find()
            .select_only()
            .column(to_device::Column::Position)
            .column(to_device::Column::Content)
            .filter(to_device::Column::UserId.eq(user.as_str()))
            .filter(to_device::Column::DeviceId.eq(device.as_str()))
            .filter(to_device::Column::Position.gt(after))
            .filter(to_device::Column::Position.lte(upto))
            .filter(alive)
            .order_by_asc(to_device::Column::Position)
            .limit(limit)
            .into_tuple()
            .all(self.reader())
            .await?;
        rows.into_iter()
            .map(|(position, event)| {
                let event = RawValue::from_string(event)
                    .map_err(|_| StoreError::corrupt("to_device", "content"))?;
                Ok(ToDeviceMessage { position, event })
            })
            .collect()
    }

    /// The position of the newest message that waits for a device.
    pub(super) async fn newest_to_device(
        &self,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<Option<i64>, StoreError> {
        Ok(to_device::Entity::find()
            .select_only()
            .column(to_device::Column::Position)
            .filter(to_device::Column::UserId.eq(user.as_str()))
            .filter(to_device::Column::DeviceId.eq(device.as_str()))
            .order_by_desc(to_device::Column::Position)
            .limit(1)
            .into_tuple()
            .one(self.reader())
            .await?)
    }

    /// What is owed to a server with `after < position <= upto`, oldest first, at most `limit`, as
    /// (position, EDU), without what is over at `now_ms`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn edus_for(
        &self,
        destination: &ServerName,
        after: i64,
        upto: i64,
        limit: u64,
        now_ms: i64,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        let alive = Condition::any()
            .add(outbound_edus::Column::ExpiresMs.is_null())
            .add(outbound_edus::Column::ExpiresMs.gt(now_ms));
        Ok(outbound_edus::Entity::find()
            .select_only()
            .column(outbound_edus::Column::Position)
            .column(outbound_edus::Column::Body)
            .filter(outbound_edus::Column::Destination.eq(destination.as_str()))
            .filter(outbound_edus::Column::Position.gt(after))
            .filter(outbound_edus::Column::Position.lte(upto))
            .filter(alive)
            .order_by_asc(outbound_edus::Column::Position)
            .limit(limit)
            .into_tuple()
            .all(self.reader())
            .await?)
    }
}

/// Deletes the messages of a device up to the position of a token that it has presented.
#[derive(Clone, Debug)]
pub struct DeleteToDevice {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Of which device.
    pub device_id: OwnedDeviceId,
    /// The position of the token.
    pub upto: i64,
}

impl Change for DeleteToDevice {
    /// Whether one with a lifetime was among them, whose bytes must leave the files too.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let theirs = to_device::Entity::delete_many()
            .filter(to_device::Column::UserId.eq(self.user_id.as_str()))
            .filter(to_device::Column::DeviceId.eq(self.device_id.as_str()))
            .filter(to_device::Column::Position.lte(self.upto));
        let expiring = theirs
            .clone()
            .filter(to_device::Column::ExpiresMs.is_not_null())
            .exec(tx.connection())
            .await?;
        theirs.exec(tx.connection()).await?;
        Ok(expiring.rows_affected > 0)
    }
}

/// Deletes what a server has received.
#[derive(Clone, Debug)]
pub struct DeleteEdus {
    /// The server.
    pub destination: OwnedServerName,
    /// The newest position that it has received.
    pub upto: i64,
}

impl Change for DeleteEdus {
    /// Whether one with a lifetime was among them, whose bytes must leave the files too.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let owed = outbound_edus::Entity::delete_many()
            .filter(outbound_edus::Column::Destination.eq(self.destination.as_str()))
            .filter(outbound_edus::Column::Position.lte(self.upto));
        let expiring = owed
            .clone()
            .filter(outbound_edus::Column::ExpiresMs.is_not_null())
            .exec(tx.connection())
            .await?;
        owed.exec(tx.connection()).await?;
        Ok(expiring.rows_affected > 0)
    }
}

/// Deletes messages whose lifetime is over, and the memory of requests made before `forget_ms`.
#[derive(Clone, Debug)]
pub struct PurgeToDevice {
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Requests older than this moment may be forgotten, in milliseconds since the Unix epoch.
    pub forget_ms: i64,
}

impl Change for PurgeToDevice {
    /// How many messages were deleted.
    type Output = u64;

    async fn apply(&self, tx: &mut Tx) -> Result<u64, StoreError> {
        let messages = to_device::Entity::delete_many()
            .filter(to_device::Column::ExpiresMs.lte(self.now_ms))
            .exec(tx.connection())
            .await?;
        let edus = outbound_edus::Entity::delete_many()
            .filter(outbound_edus::Column::ExpiresMs.lte(self.now_ms))
            .exec(tx.connection())
            .await?;
        to_device_transactions::Entity::delete_many()
            .filter(to_device_transactions::Column::CreatedMs.lt(self.forget_ms))
            .exec(tx.connection())
            .await?;
        Ok(messages.rows_affected + edus.rows_affected)
    }
}
