//! One table a file, as SeaORM entities. The tables themselves are made by `passeur-migrations`.

pub mod aliases;
pub mod event_bodies;
pub mod event_relations;
pub mod events;
pub mod log;
pub mod missing_events;
pub mod receipts;
pub mod room_members;
pub mod rooms;
pub mod state_groups;
pub mod transaction_ids;
