//! `passeur expiry`: whether the purge keeps up, beside a running server or without one.
//!
//! Invariant: nothing of what is about to be destroyed is shown, and no key is ever removed.

use std::path::Path;

use clap::Subcommand;

use super::{ConfigArgs, Failure, runtime, say};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    rooms::expiry::LAG_MS_MAX,
    server::open_store,
    store::{Backlog, FileKeyStore, KeyStore, RecordKeyStore, count_buckets},
};

/// What to do about expiry.
#[derive(Debug, Subcommand)]
pub(super) enum ExpiryCommand {
    /// Say how much expired content is not destroyed yet; exit code 1 if some is overdue by more than 60 seconds
    Status(ConfigArgs),
    /// Give up what is encrypted under keys that are lost for ever: the next start makes new ones
    ForgetKeys(ConfigArgs),
}

/// Does it, and says what it found.
pub(super) fn run(command: &ExpiryCommand) -> Result<(), Failure> {
    match command {
        ExpiryCommand::Status(args) => runtime()?.block_on(status(&args.load()?)),
        ExpiryCommand::ForgetKeys(args) => runtime()?.block_on(forget_keys(&args.load()?)),
    }
}

/// Only where there is nothing any more to be given up.
async fn forget_keys(config: &Config) -> Result<(), Failure> {
    if let Some(folder) = &config.expiry.key_store
        && FileKeyStore::new(folder.clone()).load()?.is_some()
    {
        let message = format!(
            "{} has keys: move them away first, if they are not those of this database",
            folder.display()
        );
        return Err(message.into());
    }
    let store = open_store(config).await?;
    let forgotten = store.commit(RecordKeyStore(None)).await;
    store.close().await;
    forgotten?;
    say(
        "what was encrypted under the keys that are lost is given up; the next start makes new ones",
    )
}

async fn status(config: &Config) -> Result<(), Failure> {
    let now_ms = SystemClock::new().now_ms();
    let store = open_store(config).await?;
    let backlog = store.expiry_backlog(now_ms).await;
    store.close().await;
    let backlog = backlog?;
    let overdue_ms = overdue_ms(&backlog, now_ms);
    say(format_args!("expired, not destroyed: {}", backlog.events))?;
    say(format_args!("oldest overdue by: {} s", overdue_ms / 1000))?;
    say(format_args!(
        "rooms with a policy not followed yet: {}",
        backlog.rooms
    ))?;
    match &config.expiry.key_store {
        Some(folder) => say(format_args!(
            "groups of buckets with a key: {}",
            buckets(folder)?
        ))?,
        None => say("groups of buckets with a key: none, expiry.key_store is not set")?,
    }
    if overdue_ms > LAG_MS_MAX {
        return Err("the purge does not keep up: is the server running?".into());
    }
    Ok(())
}

/// How many groups of buckets have a key in a key store.
fn buckets(folder: &Path) -> Result<usize, Failure> {
    let bytes = FileKeyStore::new(folder.to_owned()).load()?;
    Ok(bytes.map_or(0, |bytes| count_buckets(&bytes).unwrap_or(0)))
}

/// For how long the oldest has been due, in ms.
fn overdue_ms(backlog: &Backlog, now_ms: i64) -> i64 {
    backlog
        .oldest_ms
        .map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms))
}
