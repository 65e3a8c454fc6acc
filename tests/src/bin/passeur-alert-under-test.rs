//! The program `passeur-alert` itself, built together with the tests so that they always run the newest.

use std::process::ExitCode;

use clap::Parser;
use passeur_bots::alert::cli::{Cli, main as run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(_) => ExitCode::from(3),
    }
}
