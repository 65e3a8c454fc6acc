//! Pushers, and up to where each has been told.
//!
//! Invariant: a pusher begins where the log stood when it was set, and moves forward only.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#push-notifications>

use std::{collections::BTreeSet, sync::atomic::Ordering};

use ruma::{OwnedUserId, UserId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, sea_query::Expr};

use super::{Change, Store, StoreError, Tx, entity::pushers};

/// A pusher as the sender of notifications needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PusherRow {
    /// The application.
    pub app_id: String,
    /// The device, as the application knows it.
    pub pushkey: String,
    /// The pusher, as JSON.
    pub content: String,
    /// The position up to which it has been told.
    pub position: i64,
}

impl Store {
    /// Notes that a pusher was set.
    pub fn note_pusher_set(&self) {
        self.pushers_set.fetch_add(1, Ordering::AcqRel);
    }

    /// How often pushers were set by this process: while it stays the same, nobody new has one.
    pub fn pushers_changed(&self) -> u64 {
        self.pushers_set.load(Ordering::Acquire)
    }

    /// The users who have a pusher.
    ///
    /// # Errors
    /// What the database says.
    pub async fn users_with_pushers(&self) -> Result<BTreeSet<OwnedUserId>, StoreError> {
        let users: Vec<String> = pushers::Entity::find()
            .select_only()
            .column(pushers::Column::UserId)
            .distinct()
            .into_tuple()
            .all(self.reader())
            .await?;
        let corrupt = |_| StoreError::corrupt("pushers", "user_id");
        users
            .into_iter()
            .map(|user| OwnedUserId::try_from(user).map_err(corrupt))
            .collect()
    }

    /// The pushers of a user with their positions.
    ///
    /// # Errors
    /// What the database says.
    pub async fn pusher_rows(&self, user: &UserId) -> Result<Vec<PusherRow>, StoreError> {
        let rows = pushers::Entity::find()
            .filter(pushers::Column::UserId.eq(user.as_str()))
            .all(self.reader())
            .await?;
        let rows = rows.into_iter().map(|row| PusherRow {
            app_id: row.app_id,
            pushkey: row.pushkey,
            content: row.content,
            position: row.position,
        });
        Ok(rows.collect())
    }
}

/// Notes up to where a pusher has been told.
#[derive(Clone, Debug)]
pub struct MovePusher {
    /// Whose.
    pub user_id: OwnedUserId,
    /// The application.
    pub app_id: String,
    /// The device, as the application knows it.
    pub pushkey: String,
    /// The position.
    pub position: i64,
}

impl Change for MovePusher {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        pushers::Entity::update_many()
            .col_expr(pushers::Column::Position, Expr::value(self.position))
            .filter(pushers::Column::UserId.eq(self.user_id.as_str()))
            .filter(pushers::Column::AppId.eq(self.app_id.as_str()))
            .filter(pushers::Column::Pushkey.eq(self.pushkey.as_str()))
            .filter(pushers::Column::Position.lt(self.position))
            .exec(tx.connection())
            .await?;
        Ok(())
    }
}
