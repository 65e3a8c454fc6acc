//! The migrations of the SDK's store, in the order in which they run, on SQLite.
//!
//! Invariant: the list only grows at its end; a store with a migration that is not on it was written by a newer version.

use sea_orm_migration::prelude::*;

mod m0001_store;

/// Brings an SDK store to the newest shape.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_store::Migration)]
    }
}
