//! Profiles of local users, and the tokens by which third parties verify who they are.
//!
//! Invariant: a profile as a whole is bounded in bytes.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#profiles>

use std::collections::BTreeMap;

use ruma::{OwnedUserId, UserId};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, sea_query::OnConflict};
use serde_json::Value;

use super::{
    Change, Store, StoreError, Tx,
    entity::{openid_tokens, profiles},
};

/// The longest profile, in bytes of its canonical JSON.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#profiles>
const PROFILE_BYTES_MAX: usize = 65_536;

impl Store {
    /// The profile of a local user: a value a field.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] for a value that is no JSON.
    pub async fn profile(&self, user: &UserId) -> Result<BTreeMap<String, Value>, StoreError> {
        let mut all = self.profiles(&[user]).await?;
        Ok(all.remove(user).unwrap_or_default())
    }

    /// The profiles of local users, in one read; none for who has none.
    ///
    /// # Errors
    /// As [`Store::profile`].
    pub async fn profiles(
        &self,
        users: &[&UserId],
    ) -> Result<BTreeMap<OwnedUserId, BTreeMap<String, Value>>, StoreError> {
        if users.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows = profiles::Entity::find()
            .filter(profiles::Column::UserId.is_in(users.iter().map(|user| user.as_str())))
            .all(self.reader())
            .await?;
        let mut all: BTreeMap<OwnedUserId, BTreeMap<String, Value>> = BTreeMap::new();
        for row in rows {
            let user = UserId::parse(row.user_id)
                .map_err(|_| StoreError::corrupt("profiles", "user_id"))?;
            let value = serde_json::from_str(&row.value)
                .map_err(|_| StoreError::corrupt("profiles", "value"))?;
            all.entry(user).or_default().insert(row.field, value);
        }
        Ok(all)
    }

    /// Whom an OpenID token names, by the token's hash.
    ///
    /// # Errors
    /// What the database says.
    pub async fn openid_user(
        &self,
        token_hash: &str,
        now_ms: i64,
    ) -> Result<Option<OwnedUserId>, StoreError> {
        let row = openid_tokens::Entity::find_by_id(token_hash)
            .filter(openid_tokens::Column::ExpiresMs.gt(now_ms))
            .one(self.reader())
            .await?;
        row.map(|row| {
            UserId::parse(row.user_id).map_err(|_| StoreError::corrupt("openid_tokens", "user_id"))
        })
        .transpose()
    }
}

/// Sets or removes a field of a profile.
#[derive(Clone, Debug)]
pub struct SetProfileField {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Which.
    pub field: String,
    /// Its value; none removes it.
    pub value: Option<Value>,
}

impl Change for SetProfileField {
    /// Whether it was stored: not if the profile would be too long.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        use profiles::Column;
        let key = (self.user_id.to_string(), self.field.clone());
        let Some(value) = &self.value else {
            profiles::Entity::delete_by_id(key)
                .exec(tx.connection())
                .await?;
            return Ok(true);
        };
        let value = value.to_string();
        let others = profiles::Entity::find()
            .filter(Column::UserId.eq(self.user_id.as_str()))
            .filter(Column::Field.ne(self.field.as_str()))
            .all(tx.connection())
            .await?;
        // Each field costs its quotes, its colon and its comma as well.
        let bytes = |field: &str, value: &str| field.len() + value.len() + 4;
        let others: usize = others.iter().map(|row| bytes(&row.field, &row.value)).sum();
        if others + bytes(&self.field, &value) > PROFILE_BYTES_MAX {
            return Ok(false);
        }
        let row = profiles::ActiveModel {
            user_id: Set(key.0),
            field: Set(key.1),
            value: Set(value),
        };
        profiles::Entity::insert(row)
            .on_conflict(
                OnConflict::columns([Column::UserId, Column::Field])
                    .update_column(Column::Value)
                    .to_owned(),
            )
            .exec_without_returning(tx.connection())
            .await?;
        Ok(true)
    }
}

/// Stores an OpenID token, and drops those that have expired.
#[derive(Clone, Debug)]
pub struct CreateOpenidToken {
    /// The token's hash.
    pub token_hash: String,
    /// Whom it names.
    pub user_id: OwnedUserId,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// When it stops working, in milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

impl Change for CreateOpenidToken {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        openid_tokens::Entity::delete_many()
            .filter(openid_tokens::Column::ExpiresMs.lte(self.now_ms))
            .exec(tx.connection())
            .await?;
        let row = openid_tokens::ActiveModel {
            token_hash: Set(self.token_hash.clone()),
            user_id: Set(self.user_id.to_string()),
            expires_ms: Set(self.expires_ms),
        };
        openid_tokens::Entity::insert(row)
            .exec_without_returning(tx.connection())
            .await?;
        Ok(())
    }
}
