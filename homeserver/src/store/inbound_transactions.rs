//! What other servers sent and was taken: transactions, and messages to devices.
//!
//! Invariant: a transaction that is answered is answered the same way when it comes again; a message is delivered once,
//! whatever transaction brings it. Both are remembered for a week.

use ruma::{OwnedServerName, OwnedUserId, ServerName};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QuerySelect, sea_query::OnConflict,
};

use super::{
    Change, SendToDevice, Store, StoreError, Tx,
    entity::{inbound_messages, inbound_transactions},
};

/// How long a transaction or message is remembered, in milliseconds: longer than any server tries again.
const REMEMBERED_MS: i64 = 7 * 24 * 3600 * 1000;

impl Store {
    /// The answer that a transaction got, if it was taken.
    ///
    /// # Errors
    /// What the database says.
    pub async fn inbound_response(
        &self,
        origin: &ServerName,
        transaction_id: &str,
    ) -> Result<Option<String>, StoreError> {
        let key = (origin.to_string(), transaction_id.to_owned());
        Ok(inbound_transactions::Entity::find_by_id(key)
            .select_only()
            .column(inbound_transactions::Column::Response)
            .into_tuple()
            .one(self.reader())
            .await?)
    }
}

/// Remembers a transaction and its answer.
#[derive(Debug, Clone)]
pub struct TakeTransaction {
    /// Who sent it.
    pub origin: OwnedServerName,
    /// Its identifier.
    pub transaction_id: String,
    /// Now, in ms since the epoch.
    pub now_ms: i64,
    /// The body of the answer.
    pub response: String,
}

impl Change for TakeTransaction {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let row = inbound_transactions::ActiveModel {
            origin: Set(self.origin.to_string()),
            transaction_id: Set(self.transaction_id.clone()),
            received_ts: Set(self.now_ms),
            response: Set(self.response.clone()),
        };
        tx.insert_later_if_new(row);
        let forget = self.now_ms.saturating_sub(REMEMBERED_MS);
        inbound_transactions::Entity::delete_many()
            .filter(inbound_transactions::Column::ReceivedTs.lt(forget))
            .exec(tx.connection())
            .await?;
        inbound_messages::Entity::delete_many()
            .filter(inbound_messages::Column::ReceivedTs.lt(forget))
            .exec(tx.connection())
            .await?;
        Ok(())
    }
}

/// Delivers a message of another server's user to local devices, once.
#[derive(Debug, Clone)]
pub struct ReceiveToDevice {
    /// Who sent it.
    pub sender: OwnedUserId,
    /// Its identifier.
    pub message_id: String,
    /// Now, in ms since the epoch.
    pub now_ms: i64,
    /// What is delivered.
    pub messages: SendToDevice,
}

impl Change for ReceiveToDevice {
    /// Whether it was delivered now: not if it had been before.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let row = inbound_messages::ActiveModel {
            sender: Set(self.sender.to_string()),
            message_id: Set(self.message_id.clone()),
            received_ts: Set(self.now_ms),
        };
        let inserted = inbound_messages::Entity::insert(row)
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(tx.connection())
            .await?;
        if inserted == 0 {
            return Ok(false);
        }
        self.messages.apply(tx).await
    }
}
