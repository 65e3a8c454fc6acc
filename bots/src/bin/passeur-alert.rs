//! The alert bot: see [`passeur_bots::alert`].

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
