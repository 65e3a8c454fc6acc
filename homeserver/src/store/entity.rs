//! One table a file, as SeaORM entities. The tables themselves are made by `passeur-migrations`.

pub mod account_data;
pub mod accounts;
pub mod aliases;
pub mod devices;
pub mod event_bodies;
pub mod event_relations;
pub mod events;
pub mod filters;
pub mod log;
pub mod missing_events;
pub mod openid_tokens;
pub mod profiles;
pub mod receipts;
pub mod registration_tokens;
pub mod room_members;
pub mod rooms;
pub mod sessions;
pub mod server_key_documents;
pub mod server_keys;
pub mod state_groups;
pub mod transaction_ids;
