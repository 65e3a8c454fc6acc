//! The project's own commands: `cargo xtask test` runs every check, `cargo xtask crash` kills servers again and again.
//!
//! What a command needs and this machine lacks (Debian and Python packages) it installs itself; everything it starts
//! it also stops, and everything it writes lies under `target/` or in a temporary folder.
#![expect(
    clippy::print_stdout,
    reason = "a command line tool talks on its standard output"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod debian;
mod log_scan;
mod postgres;
mod process;
mod python;
mod summary;
mod test;

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What can be done.
#[derive(Subcommand)]
enum Command {
    /// Install what the tests need, run every check, and print a summary.
    Test(test::Options),
    /// Kill two federating servers again and again under load, and check that nothing acknowledged is lost.
    Crash {
        /// How often a server is killed.
        #[arg(long, default_value_t = 50)]
        rounds: u32,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Crash { rounds } => test::crash(rounds),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("\n{message}");
            ExitCode::FAILURE
        }
    }
}
