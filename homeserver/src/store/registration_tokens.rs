//! Tokens that let people register.
//!
//! Invariant: a token makes no more accounts than it may: it is used up in the transaction that
//! makes the account.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    sea_query::{Expr, OnConflict},
};

use super::{Change, Store, StoreError, Tx, entity::registration_tokens};

/// A registration token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationToken {
    /// The token itself.
    pub token: String,
    /// How many accounts it may make; no limit if none.
    pub uses_max: Option<i64>,
    /// How many it has made.
    pub uses: i64,
    /// When it stops working, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
}

impl RegistrationToken {
    /// Whether it can make another account at `now_ms`.
    #[must_use]
    pub fn is_valid(&self, now_ms: i64) -> bool {
        self.uses_max.is_none_or(|max| self.uses < max)
            && self.expires_ms.is_none_or(|expires| now_ms < expires)
    }
}

impl From<registration_tokens::Model> for RegistrationToken {
    fn from(row: registration_tokens::Model) -> Self {
        Self {
            token: row.token,
            uses_max: row.uses_max,
            uses: row.uses,
            expires_ms: row.expires_ms,
        }
    }
}

impl Store {
    /// A registration token.
    ///
    /// # Errors
    /// What the database says.
    pub async fn registration_token(
        &self,
        token: &str,
    ) -> Result<Option<RegistrationToken>, StoreError> {
        let row = registration_tokens::Entity::find_by_id(token)
            .one(self.reader())
            .await?;
        Ok(row.map(RegistrationToken::from))
    }

    /// All registration tokens, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn registration_tokens(&self) -> Result<Vec<RegistrationToken>, StoreError> {
        let rows = registration_tokens::Entity::find()
            .order_by_asc(registration_tokens::Column::CreatedMs)
            .all(self.reader())
            .await?;
        Ok(rows.into_iter().map(RegistrationToken::from).collect())
    }
}

/// Counts one use of a token, if it may be used.
pub(super) async fn use_up(tx: &Tx, token: &str, now_ms: i64) -> Result<bool, StoreError> {
    use registration_tokens::Column;
    let updated = registration_tokens::Entity::update_many()
        .col_expr(Column::Uses, Expr::col(Column::Uses).add(1))
        .filter(Column::Token.eq(token))
        .filter(
            Condition::any()
                .add(Column::UsesMax.is_null())
                .add(Expr::col(Column::Uses).lt(Expr::col(Column::UsesMax))),
        )
        .filter(
            Condition::any()
                .add(Column::ExpiresMs.is_null())
                .add(Column::ExpiresMs.gt(now_ms)),
        )
        .exec(tx.connection())
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Makes a registration token.
#[derive(Clone, Debug)]
pub struct CreateRegistrationToken {
    /// The token itself.
    pub token: String,
    /// How many accounts it may make; no limit if none.
    pub uses_max: Option<i64>,
    /// When it stops working, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

impl Change for CreateRegistrationToken {
    /// Whether it is new.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let row = registration_tokens::ActiveModel {
            token: Set(self.token.clone()),
            uses_max: Set(self.uses_max),
            uses: Set(0),
            expires_ms: Set(self.expires_ms),
            created_ms: Set(self.now_ms),
        };
        let inserted = registration_tokens::Entity::insert(row)
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(tx.connection())
            .await?;
        Ok(inserted == 1)
    }
}

/// Revokes a registration token. Accounts that it made stay.
#[derive(Clone, Debug)]
pub struct RevokeRegistrationToken {
    /// The token itself.
    pub token: String,
}

impl Change for RevokeRegistrationToken {
    /// Whether there was one.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let deleted = registration_tokens::Entity::delete_by_id(self.token.clone())
            .exec(tx.connection())
            .await?;
        Ok(deleted.rows_affected == 1)
    }
}
