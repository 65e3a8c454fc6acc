//! Tokens by which a session lets another device log in.
//!
//! Invariant: a token works once, for a short time, and only its hash is kept.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#token-based>

use ruma::{OwnedUserId, UserId};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};

use super::{Change, StoreError, Tx, entity::login_tokens};

/// Stores a token, and drops those that have expired.
#[derive(Clone, Debug)]
pub struct CreateLoginToken {
    /// The token's hash.
    pub token_hash: String,
    /// Whom it logs in.
    pub user_id: OwnedUserId,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// When it stops working, in milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

impl Change for CreateLoginToken {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        login_tokens::Entity::delete_many()
            .filter(login_tokens::Column::ExpiresMs.lte(self.now_ms))
            .exec(tx.connection())
            .await?;
        let row = login_tokens::ActiveModel {
            token_hash: Set(self.token_hash.clone()),
            user_id: Set(self.user_id.to_string()),
            expires_ms: Set(self.expires_ms),
        };
        login_tokens::Entity::insert(row)
            .exec_without_returning(tx.connection())
            .await?;
        Ok(())
    }
}

/// Takes a token: it works no longer.
#[derive(Clone, Debug)]
pub struct TakeLoginToken {
    /// The token's hash.
    pub token_hash: String,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

impl Change for TakeLoginToken {
    /// Whom it logs in, if it was good.
    type Output = Option<OwnedUserId>;

    async fn apply(&self, tx: &mut Tx) -> Result<Self::Output, StoreError> {
        let found = login_tokens::Entity::find_by_id(self.token_hash.clone())
            .filter(login_tokens::Column::ExpiresMs.gt(self.now_ms))
            .one(tx.connection())
            .await?;
        let Some(row) = found else { return Ok(None) };
        login_tokens::Entity::delete_by_id(self.token_hash.clone())
            .exec(tx.connection())
            .await?;
        UserId::parse(row.user_id)
            .map(Some)
            .map_err(|_| StoreError::corrupt("login_tokens", "user_id"))
    }
}
