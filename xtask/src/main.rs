//! The project's own commands: `cargo demo` shows the system at work, `cargo xtask test` runs every check, and
//! `cargo xtask crash` kills servers again and again.
//!
//! What a command needs and this machine lacks (packages of Debian, Python and npm) it installs itself; everything it starts
//! it also stops, and everything it writes lies under `target/` or in a temporary folder.
#![expect(
    clippy::print_stdout,
    reason = "a command line tool talks on its standard output"
)]

use std::{env, ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

mod debian;
mod demo;
mod log_scan;
mod matrix_sdk;
mod node;
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
    /// Let two organisations exchange encrypted, expiring alerts on this machine, and check that what expired is gone.
    Demo(demo::Options),
    /// Install what the tests need, run every check, and print a summary.
    Test(test::Options),
    /// Kill two federating servers again and again under load, and check that nothing acknowledged is lost.
    Crash(test::CrashOptions),
}

fn main() -> ExitCode {
    let done = match Arguments::parse_from(arguments()).command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Crash(options) => test::crash(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("\n{message}");
            ExitCode::FAILURE
        }
    }
}

/// What we were called with. `cargo demo -- --once` arrives as `demo -- --once`, since the alias has a `--` of its own.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == "demo")
        && arguments.get(2).is_some_and(|second| second == "--")
    {
        arguments.remove(2);
    }
    arguments
}
