//! Giving out one-time keys.
//!
//! Invariant: a one-time key is given out at most once: the transaction that reads it deletes it.
//! However many devices are asked for, it takes the same number of statements.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#one-time-and-fallback-keys>

use std::collections::HashSet;

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect, sea_query::Expr};

use super::{
    Change, Store, StoreError, Tx,
    entity::{fallback_keys, one_time_keys},
};

impl Store {
    /// Gives out one key for each device asked for that has one left.
    ///
    /// # Errors
    /// What the database says.
    pub async fn claim_keys(
        &self,
        wanted: Vec<ClaimedFrom>,
    ) -> Result<Vec<ClaimedKey>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let claimed = self.commit(ClaimKeys { wanted }).await?.output;
        for key in &claimed {
            let from = &key.from;
            self.count_cache
                .forget(from.user_id.as_str(), from.device_id.as_str());
        }
        Ok(claimed)
    }
}

/// From which device a key is wanted, and of which algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimedFrom {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Of which device.
    pub device_id: OwnedDeviceId,
    /// Of which algorithm.
    pub algorithm: String,
}

/// A key that was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedKey {
    /// From where.
    pub from: ClaimedFrom,
    /// Algorithm and name.
    pub key_id: String,
    /// The key, as JSON.
    pub content: String,
}

/// Gives out keys: the oldest one-time key of each device, or else its fallback key.
#[derive(Clone, Debug)]
struct ClaimKeys {
    wanted: Vec<ClaimedFrom>,
}

impl Change for ClaimKeys {
    type Output = Vec<ClaimedKey>;

    async fn apply(&self, tx: &mut Tx) -> Result<Vec<ClaimedKey>, StoreError> {
        let mut open: HashSet<ClaimedFrom> = self.wanted.iter().cloned().collect();
        let mut claimed = Vec::new();
        for row in self.take_one_time_keys(tx, &open).await? {
            let key = ClaimedKey {
                from: from(row.user_id, row.device_id, row.algorithm)?,
                key_id: row.key_id,
                content: row.content,
            };
            open.remove(&key.from);
            claimed.push(key);
        }
        if !open.is_empty() {
            claimed.extend(self.use_fallback_keys(tx, &open).await?);
        }
        Ok(claimed)
    }
}

fn from(user: String, device: String, algorithm: String) -> Result<ClaimedFrom, StoreError> {
    let user_id =
        UserId::parse(user).map_err(|_| StoreError::corrupt("one_time_keys", "user_id"))?;
    Ok(ClaimedFrom {
        user_id,
        device_id: device.into(),
        algorithm,
    })
}

impl ClaimKeys {
    fn users(&self) -> impl Iterator<Item = &str> {
        self.wanted.iter().map(|from| from.user_id.as_str())
    }

    fn devices(&self) -> impl Iterator<Item = &str> {
        self.wanted.iter().map(|from| from.device_id.as_str())
    }

    /// Reads and deletes the oldest key of each, in three statements whatever their number.
    async fn take_one_time_keys(
        &self,
        tx: &Tx,
        open: &HashSet<ClaimedFrom>,
    ) -> Result<Vec<one_time_keys::Model>, StoreError> {
        use one_time_keys::Column;
        let oldest: Vec<(String, String, String, i64)> = one_time_keys::Entity::find()
            .select_only()
            .column(Column::UserId)
            .column(Column::DeviceId)
            .column(Column::Algorithm)
            .column_as(Column::Id.min(), "oldest")
            .filter(Column::UserId.is_in(self.users()))
            .filter(Column::DeviceId.is_in(self.devices()))
            .group_by(Column::UserId)
            .group_by(Column::DeviceId)
            .group_by(Column::Algorithm)
            .into_tuple()
            .all(tx.connection())
            .await?;
        let mut ids = Vec::with_capacity(oldest.len());
        for (user, device, algorithm, id) in oldest {
            // The two lists above may name pairs that nobody asked for.
            if open.contains(&from(user, device, algorithm)?) {
                ids.push(id);
            }
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = one_time_keys::Entity::find()
            .filter(Column::Id.is_in(ids.iter().copied()))
            .all(tx.connection())
            .await?;
        let deleted = one_time_keys::Entity::delete_many()
            .filter(Column::Id.is_in(ids))
            .exec(tx.connection())
            .await?;
        StoreError::ensure_affected("one_time_keys", rows.len() as u64, deleted.rows_affected)?;
        Ok(rows)
    }

    async fn use_fallback_keys(
        &self,
        tx: &Tx,
        open: &HashSet<ClaimedFrom>,
    ) -> Result<Vec<ClaimedKey>, StoreError> {
        use fallback_keys::Column;
        let rows = fallback_keys::Entity::find()
            .filter(Column::UserId.is_in(self.users()))
            .filter(Column::DeviceId.is_in(self.devices()))
            .all(tx.connection())
            .await?;
        let mut claimed = Vec::new();
        let mut first_uses = Condition::any();
        for row in rows {
            let from = from(row.user_id, row.device_id, row.algorithm)?;
            if !open.contains(&from) {
                continue;
            }
            if !row.used {
                first_uses = first_uses.add(
                    Condition::all()
                        .add(Column::UserId.eq(from.user_id.as_str()))
                        .add(Column::DeviceId.eq(from.device_id.as_str()))
                        .add(Column::Algorithm.eq(from.algorithm.as_str())),
                );
            }
            claimed.push(ClaimedKey {
                from,
                key_id: row.key_id,
                content: row.content,
            });
        }
        if !first_uses.is_empty() {
            fallback_keys::Entity::update_many()
                .col_expr(Column::Used, Expr::value(true))
                .filter(first_uses)
                .exec(tx.connection())
                .await?;
        }
        Ok(claimed)
    }
}
