//! `passeur check-config`: whether `serve` would start, as far as files tell.
//!
//! Invariant: nothing is written, bound or connected to.

use super::{Failure, say};
use crate::{
    config::Config,
    key_files,
    listener::Listeners,
    outbound,
    store::{FileKeyStore, KeyStore},
};

/// Loads what `serve` loads.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    key_files::load_signing_key(&config.signing_key_path())?;
    key_files::load_token_key(&config.token_key_path())?;
    Listeners::check(&config.listeners)?;
    outbound::check_tls(&config.federation)?;
    match &config.expiry.key_store {
        // Whether they are this database's keys, only the database knows.
        Some(folder) => drop(FileKeyStore::new(folder.clone()).load()?),
        None => {
            say("note: expiry.key_store is not set: a backup keeps what expires after it was made")?
        }
    }
    say(format_args!(
        "the configuration of {} is good",
        config.server_name
    ))
}
