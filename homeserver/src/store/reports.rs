//! What users reported to the operator.
//!
//! Invariant: a report is kept until the operator removes it, and a user keeps at most [`REPORTS_MAX`].
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#reporting-content>

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
};

use super::{Change, Store, StoreError, Tx, entity::reports};

/// Reports that are kept of one user.
const REPORTS_MAX: u64 = 1000;

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its random id.
    pub id: String,
    /// Who reports.
    pub reporter: OwnedUserId,
    /// The room concerned, of an event or itself.
    pub room_id: Option<OwnedRoomId>,
    /// The event concerned.
    pub event_id: Option<OwnedEventId>,
    /// The user concerned.
    pub user_id: Option<OwnedUserId>,
    /// Why; may be empty.
    pub reason: String,
    /// When, in ms since the epoch.
    pub created_ms: i64,
}

impl Store {
    /// All reports, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn reports(&self) -> Result<Vec<Report>, StoreError> {
        let rows = reports::Entity::find()
            .order_by_asc(reports::Column::CreatedMs)
            .all(self.reader())
            .await?;
        rows.into_iter().map(Report::try_from).collect()
    }
}

impl TryFrom<reports::Model> for Report {
    type Error = StoreError;

    fn try_from(row: reports::Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::corrupt("reports", column);
        let room = row.room_id.map(OwnedRoomId::try_from).transpose();
        let event = row.event_id.map(OwnedEventId::try_from).transpose();
        let user = row.user_id.map(OwnedUserId::try_from).transpose();
        Ok(Self {
            id: row.id,
            reporter: OwnedUserId::try_from(row.reporter).map_err(|_| corrupt("reporter"))?,
            room_id: room.map_err(|_| corrupt("room_id"))?,
            event_id: event.map_err(|_| corrupt("event_id"))?,
            user_id: user.map_err(|_| corrupt("user_id"))?,
            reason: row.reason,
            created_ms: row.created_ms,
        })
    }
}

/// Keeps a report.
#[derive(Clone, Debug)]
pub struct KeepReport(pub Report);

impl Change for KeepReport {
    /// Whether it was kept: not if the user has reported too much.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let report = &self.0;
        let kept = reports::Entity::find()
            .filter(reports::Column::Reporter.eq(report.reporter.as_str()))
            .count(tx.connection())
            .await?;
        if kept >= REPORTS_MAX {
            return Ok(false);
        }
        let row = reports::ActiveModel {
            id: Set(report.id.clone()),
            reporter: Set(report.reporter.to_string()),
            room_id: Set(report.room_id.as_ref().map(ToString::to_string)),
            event_id: Set(report.event_id.as_ref().map(ToString::to_string)),
            user_id: Set(report.user_id.as_ref().map(ToString::to_string)),
            reason: Set(report.reason.clone()),
            created_ms: Set(report.created_ms),
        };
        reports::Entity::insert(row)
            .exec_without_returning(tx.connection())
            .await?;
        Ok(true)
    }
}

/// Removes a report.
#[derive(Clone, Debug)]
pub struct RemoveReport {
    /// Its id.
    pub id: String,
}

impl Change for RemoveReport {
    /// Whether there was one.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let deleted = reports::Entity::delete_by_id(self.id.clone())
            .exec(tx.connection())
            .await?;
        Ok(deleted.rows_affected == 1)
    }
}
