//! `passeur expiry`: whether the purge keeps up, beside a running server or without one.
//!
//! Invariant: it only reads; nothing of what is about to be destroyed is shown.

use clap::Subcommand;

use super::{ConfigArgs, Failure, runtime, say};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    rooms::expiry::LAG_MS_MAX,
    server::open_store,
    store::Backlog,
};

/// What to do about expiry.
#[derive(Debug, Subcommand)]
pub(super) enum ExpiryCommand {
    /// Say how much expired content is not destroyed yet; exit code 1 if some is overdue by more than 60 seconds
    Status(ConfigArgs),
}

/// Does it, and says what it found.
pub(super) fn run(command: &ExpiryCommand) -> Result<(), Failure> {
    let ExpiryCommand::Status(args) = command;
    let config = args.load()?;
    runtime()?.block_on(status(&config))
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
    if overdue_ms > LAG_MS_MAX {
        return Err("the purge does not keep up: is the server running?".into());
    }
    Ok(())
}

/// For how long the oldest has been due, in ms.
fn overdue_ms(backlog: &Backlog, now_ms: i64) -> i64 {
    backlog
        .oldest_ms
        .map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms))
}
