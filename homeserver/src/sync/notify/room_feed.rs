//! What is remembered of a room that somebody follows: the newest rows of its log.
//!
//! Invariant: at most [`ROOM_ROWS_MAX`] rows; what is dropped raises the floor below which the
//! database must be asked.

use std::{collections::VecDeque, sync::Arc};

use crate::store::{LogKind, LogRow};

/// Rows of the log that a followed room remembers.
pub const ROOM_ROWS_MAX: usize = 64;

/// A row of a room's log, without its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomLogRow {
    /// Its position.
    pub position: i64,
    /// What happened.
    pub kind: LogKind,
    /// What it is about.
    pub reference: Arc<str>,
}

impl From<&LogRow> for RoomLogRow {
    fn from(row: &LogRow) -> Self {
        Self {
            position: row.position,
            kind: row.kind,
            reference: row.reference.as_deref().unwrap_or_default().into(),
        }
    }
}

/// What is remembered of a room.
#[derive(Debug, Default)]
pub(super) struct RoomFeed {
    /// Above this, `rows` has every event.
    pub(super) floor: i64,
    /// Above this, `rows` has every receipt, and all that expires, as well.
    pub(super) others_floor: i64,
    /// The newest rows, oldest first.
    pub(super) rows: VecDeque<RoomLogRow>,
    /// The feeds of users that follow the room.
    pub(super) followers: Vec<u64>,
}

impl RoomFeed {
    /// Takes a row that has just been committed.
    pub(super) fn note(&mut self, row: RoomLogRow) {
        self.rows.push_back(row);
        while self.rows.len() > ROOM_ROWS_MAX {
            if let Some(oldest) = self.rows.pop_front() {
                self.floor = oldest.position;
                self.others_floor = self.others_floor.max(oldest.position);
            }
        }
    }
}
