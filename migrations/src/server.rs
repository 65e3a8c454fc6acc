//! The homeserver's migrations, in the order in which they run, on SQLite and PostgreSQL alike.
//!
//! Invariant: the list only grows at its end.

use sea_orm_migration::prelude::*;

mod m0001_log;
mod m0002_accounts;
mod m0003_rooms;
mod m0004_keys;
mod m0005_federation;
mod m0006_backups_and_media;
mod m0007_expiry;
mod m0009_moderation;
mod m0010_directory;
mod m0011_indexes;
mod m0012_dehydrated_devices;
mod m0013_partial_indexes;
mod m0014_shredding;
mod m0015_expiry_redactions;

/// Brings a homeserver's database to the newest shape.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_log::Migration),
            Box::new(m0002_accounts::Migration),
            Box::new(m0003_rooms::Migration),
            Box::new(m0004_keys::Migration),
            Box::new(m0005_federation::Migration),
            Box::new(m0006_backups_and_media::Migration),
            Box::new(m0007_expiry::Migration),
            Box::new(m0009_moderation::Migration),
            Box::new(m0010_directory::Migration),
            Box::new(m0011_indexes::Migration),
            Box::new(m0012_dehydrated_devices::Migration),
            Box::new(m0013_partial_indexes::Migration),
            Box::new(m0014_shredding::Migration),
            Box::new(m0015_expiry_redactions::Migration),
        ]
    }
}
