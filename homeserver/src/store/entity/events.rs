//! The skeleton of one event: what remains of it when it is redacted, and where it stands.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    /// Its id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: String,
    /// Its room.
    pub room_id: String,
    /// Who sent it.
    pub sender: String,
    /// Its type.
    pub kind: String,
    /// Its state key, for a state event.
    pub state_key: Option<String>,
    /// When its sender says that it was sent, in ms since the epoch.
    pub origin_server_ts: i64,
    /// When this server first received it, in ms since the epoch.
    pub received_ts: i64,
    /// Its depth in the graph.
    pub depth: i64,
    /// Its place in the timeline; none outside of it.
    pub room_order: Option<i64>,
    /// Its position in the log; none for history and outliers.
    pub position: Option<i64>,
    /// The state before it: a row of `state_groups`.
    pub state_before: Option<i64>,
    /// The state after it; the same row unless it is a state event.
    pub state_after: Option<i64>,
    /// An `EventStatus`.
    pub status: i16,
    /// The redacted form with hashes and signatures, as canonical JSON.
    pub skeleton: Vec<u8>,
    /// Where the value of `content` begins in the skeleton, in bytes; none if the body is the whole event.
    pub content_at: Option<i32>,
    /// How long that value is, in bytes.
    pub content_len: Option<i32>,
    /// The redaction that removed its body.
    pub redacted_by: Option<String>,
    /// From when it is shown without its body, in ms since the epoch.
    pub deadline: Option<i64>,
    /// When its body is destroyed, in ms since the epoch: at the deadline, or later if a later policy shortened it.
    pub destroy_at: Option<i64>,
    /// Its lifetime class, in ms.
    pub expiry_class: Option<i64>,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
