//! Giving out one-time keys.
//!
//! Invariant: a one-time key is given out at most once: the transaction that reads it deletes it.
//! A statement asks for many devices at once, and costs as much for each however many keys they keep.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#one-time-and-fallback-keys>

use std::collections::HashSet;

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter,
    sea_query::{Alias, Expr, Query},
};

use super::{
    Change, Store, StoreError, Tx,
    entity::{fallback_keys, one_time_keys},
};

/// Devices in one list of values: three parameters each.
const DEVICES_PER_STATEMENT_MAX: usize = 1_000;
/// Devices in one condition: SQLite allows an expression to be 1,000 terms deep.
const DEVICES_PER_CONDITION_MAX: usize = 100;
/// The list of devices that keys are wanted of, in a statement.
const WANTED: &str = "wanted";

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
        for row in self.take_one_time_keys(tx).await? {
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
    /// Deletes the oldest key of each, and answers with it.
    async fn take_one_time_keys(&self, tx: &Tx) -> Result<Vec<one_time_keys::Model>, StoreError> {
        use one_time_keys::{Column, Entity};
        let mut taken = Vec::with_capacity(self.wanted.len());
        for some in self.wanted.chunks(DEVICES_PER_STATEMENT_MAX) {
            // Both engines number the columns of a list of values.
            let is_wanted = |column: Column, wanted: &'static str| {
                Expr::col((Entity, column)).equals((Alias::new(WANTED), Alias::new(wanted)))
            };
            let oldest = Query::select()
                .expr(Expr::col((Entity, Column::Id)).min())
                .from(Entity)
                .and_where(is_wanted(Column::UserId, "column1"))
                .and_where(is_wanted(Column::DeviceId, "column2"))
                .and_where(is_wanted(Column::Algorithm, "column3"))
                .to_owned();
            let devices = some.iter().map(|from| {
                let (user, device) = (from.user_id.as_str(), from.device_id.as_str());
                (user, device, from.algorithm.as_str())
            });
            let ids = Query::select()
                .expr(Expr::from(oldest))
                .from_values(devices, Alias::new(WANTED))
                .to_owned();
            let keys = Entity::delete_many()
                .filter(Column::Id.in_subquery(ids))
                .exec_with_returning(tx.connection())
                .await?;
            taken.extend(keys);
        }
        Ok(taken)
    }

    async fn use_fallback_keys(
        &self,
        tx: &Tx,
        open: &HashSet<ClaimedFrom>,
    ) -> Result<Vec<ClaimedKey>, StoreError> {
        let mut claimed = Vec::new();
        let open: Vec<&ClaimedFrom> = open.iter().collect();
        for some in open.chunks(DEVICES_PER_CONDITION_MAX) {
            let rows = fallback_keys::Entity::find()
                .filter(any_of(some.iter().copied()))
                .all(tx.connection())
                .await?;
            let mut first_uses = Vec::new();
            for row in rows {
                let from = from(row.user_id, row.device_id, row.algorithm)?;
                if !row.used {
                    first_uses.push(from.clone());
                }
                claimed.push(ClaimedKey {
                    from,
                    key_id: row.key_id,
                    content: row.content,
                });
            }
            if !first_uses.is_empty() {
                fallback_keys::Entity::update_many()
                    .col_expr(fallback_keys::Column::Used, Expr::value(true))
                    .filter(any_of(&first_uses))
                    .exec(tx.connection())
                    .await?;
            }
        }
        Ok(claimed)
    }
}

/// The fallback keys of these devices.
fn any_of<'a>(devices: impl IntoIterator<Item = &'a ClaimedFrom>) -> Condition {
    use fallback_keys::Column;
    let one = |from: &ClaimedFrom| {
        Condition::all()
            .add(Column::UserId.eq(from.user_id.as_str()))
            .add(Column::DeviceId.eq(from.device_id.as_str()))
            .add(Column::Algorithm.eq(from.algorithm.as_str()))
    };
    devices
        .into_iter()
        .fold(Condition::any(), |any, from| any.add(one(from)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sea_orm::ActiveValue::Set;

    use super::*;
    use crate::store::testing::open_in;

    const ALGORITHM: &str = "signed_curve25519";

    /// Puts a device's one-time keys and its fallback key where they belong.
    #[derive(Clone, Debug)]
    struct Put {
        devices: Vec<ClaimedFrom>,
        one_time_keys: Vec<i64>,
    }

    impl Change for Put {
        type Output = ();

        async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
            for from in &self.devices {
                tx.insert_later(fallback_keys::ActiveModel {
                    user_id: Set(from.user_id.to_string()),
                    device_id: Set(from.device_id.to_string()),
                    algorithm: Set(from.algorithm.clone()),
                    key_id: Set("fallback".to_owned()),
                    content: Set("{}".to_owned()),
                    used: Set(false),
                });
                for id in &self.one_time_keys {
                    tx.insert_later(one_time_keys::ActiveModel {
                        id: Set(*id),
                        user_id: Set(from.user_id.to_string()),
                        device_id: Set(from.device_id.to_string()),
                        key_id: Set(id.to_string()),
                        algorithm: Set(from.algorithm.clone()),
                        content: Set("{}".to_owned()),
                    });
                }
            }
            Ok(())
        }
    }

    fn device(user: &str, device: &str) -> ClaimedFrom {
        ClaimedFrom {
            user_id: UserId::parse(format!("@{user}:one.example")).unwrap(),
            device_id: device.into(),
            algorithm: ALGORITHM.to_owned(),
        }
    }

    async fn put(store: &Arc<Store>, from: &ClaimedFrom, one_time_keys: &[i64]) {
        let change = Put {
            devices: vec![from.clone()],
            one_time_keys: one_time_keys.to_vec(),
        };
        store.commit(change).await.unwrap();
    }

    #[tokio::test]
    async fn each_device_gives_its_oldest_key_and_in_the_end_its_fallback_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = open_in(folder.path()).await;
        let (alice, bob) = (device("alice", "PHONE"), device("bob", "PHONE"));
        put(&store, &alice, &[5, 3]).await;
        put(&store, &bob, &[4]).await;
        // Of the same user, but nobody asks for it; and a device that there is not.
        put(&store, &device("alice", "TABLET"), &[1]).await;
        let nobody = device("alice", "PAGER");
        for expected in [["3", "4"], ["5", "fallback"], ["fallback", "fallback"]] {
            let wanted = vec![alice.clone(), bob.clone(), nobody.clone()];
            let mut given = store.claim_keys(wanted).await.unwrap();
            given.sort_by(|one, other| one.from.user_id.cmp(&other.from.user_id));
            let froms: Vec<_> = given.iter().map(|key| &key.from).collect();
            assert_eq!(froms, [&alice, &bob]);
            let ids: Vec<_> = given.iter().map(|key| &*key.key_id).collect();
            assert_eq!(ids, expected);
        }
    }

    #[tokio::test]
    async fn a_key_of_another_algorithm_is_not_given() {
        let folder = tempfile::tempdir().unwrap();
        let store = open_in(folder.path()).await;
        let alice = device("alice", "PHONE");
        put(&store, &alice, &[1]).await;
        let other = ClaimedFrom {
            algorithm: "curve25519".to_owned(),
            ..alice.clone()
        };
        assert_eq!(store.claim_keys(vec![other]).await.unwrap(), []);
        assert_eq!(store.claim_keys(vec![alice]).await.unwrap()[0].key_id, "1");
    }

    #[tokio::test]
    async fn thousands_of_devices_are_claimed_from_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = open_in(folder.path()).await;
        let devices: Vec<_> = (0..2_500)
            .map(|number| device(&format!("u{number}"), &format!("D{number}")))
            .collect();
        let change = Put {
            devices: devices.clone(),
            one_time_keys: Vec::new(),
        };
        store.commit(change).await.unwrap();
        for _ in ["the first use", "the next"] {
            let given = store.claim_keys(devices.clone()).await.unwrap();
            let given: HashSet<_> = given.into_iter().map(|key| key.from).collect();
            assert_eq!(given, devices.iter().cloned().collect());
        }
    }
}
