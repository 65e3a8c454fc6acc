//! `cargo demo`: two organisations exchange encrypted, expiring alerts on this machine, before your eyes.
//!
//! Every line is a step with the seconds since the start; a step that does not hold ends the demo with exit code 1. With
//! `--once` it ends after the last step, otherwise it keeps the servers running until Ctrl-C. Homeservers and bot are
//! processes of their own: this executable, started again in their parts.
#![expect(
    clippy::print_stdout,
    reason = "a command line tool talks on its standard output"
)]

use std::process::ExitCode;

use clap::Parser;
use passeur_bots::alert;
use passeur_tests::server::{PASSEUR_ROLE, ROLE};

mod bot;
mod expiry;
mod steps;
mod story;

/// The alert bot's part.
const ALERT_ROLE: &str = "passeur-alert";

/// Two organisations exchange encrypted, expiring alerts on this machine.
#[derive(Parser)]
#[command(name = "cargo demo")]
struct Arguments {
    /// End after the checks instead of keeping the servers running.
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    let role = std::env::var(ROLE).unwrap_or_default();
    if role == PASSEUR_ROLE {
        return passeur_homeserver::cli::main();
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            println!("the demo cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    if role == ALERT_ROLE {
        return runtime.block_on(alert::cli::main(alert::cli::Cli::parse()));
    }
    let once = Arguments::parse().once;
    match runtime.block_on(story::run(once)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("\nThe demo failed: {failure}");
            ExitCode::FAILURE
        }
    }
}
