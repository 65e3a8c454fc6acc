//! `cargo demo`: two organisations exchange encrypted, expiring alerts, on this machine, before your eyes.
//!
//! Two homeservers and the alert bot run as their operators would run them: the real programs, configured by their own
//! `init`, in the folder `.demo/`. What is shown is checked, and the first thing that does not hold ends the demo with an
//! error. Whatever was started is stopped, however the demo ends.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::process;

mod alert;
mod certificates;
mod child;
mod expiry;
mod org;
mod person;
mod programs;
mod report;
mod scan;
mod story;

use child::Children;
use programs::Programs;
use report::Report;

/// How long anything that should happen at once may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two looks at something that cannot be waited for in another way.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// How the demo runs.
#[derive(Args)]
pub(crate) struct Options {
    /// End after the checks: exit code 0 only if all held.
    #[arg(long)]
    once: bool,
    /// With `--once`: keep the folder `.demo/` with databases, logs and certificates.
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let report = Report::new();
    let programs = Programs::find()?;
    // Two demos would overwrite each other's folder. The system lets go of the lock when this process ends.
    let _lock = lock(&programs.folder().join("demo.lock"))?;
    report.step("building passeur and passeur-alert (the first time takes minutes)");
    programs.build()?;
    let work = work_folder()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no threads: {error}"))?;
    let mut children = Children::default();
    let outcome = runtime.block_on(perform(options, &report, &programs, &work, &mut children));
    // Clients' connections first, so that they do not complain about servers that are gone.
    runtime.shutdown_background();
    if outcome.is_ok() && options.once && !options.keep {
        fs::remove_dir_all(&work)
            .map_err(|error| format!("cannot remove {}: {error}", work.display()))?;
    }
    outcome
}

/// Plays the story, keeps running if that is asked for, and stops everything.
async fn perform(
    options: &Options,
    report: &Report,
    programs: &Programs,
    work: &Path,
    children: &mut Children,
) -> Result<(), String> {
    let mut told_to_end = std::pin::pin!(told_to_end()?);
    let played = tokio::select! {
        played = story::play(report, programs, work, children) => played,
        () = &mut told_to_end => Err("stopped before all checks were done".to_owned()),
    };
    let outcome = match played {
        Ok(_) if options.once => Ok(()),
        Ok(how_to_go_on) => {
            report.text(&how_to_go_on);
            report.text("Everything keeps running until Ctrl-C.");
            tokio::select! {
                () = &mut told_to_end => Ok(()),
                ended = children.any_ended() => Err(ended),
            }
        }
        Err(message) => Err(children.blame(&message)),
    };
    let stopped = children.stop().await;
    if outcome.is_ok() && stopped.is_ok() {
        report.step(if options.once {
            "all checks held; everything is stopped"
        } else {
            "everything is stopped"
        });
    }
    outcome.and(stopped)
}

/// Waits for Ctrl-C, SIGTERM, or the terminal's end.
fn told_to_end() -> Result<impl Future<Output = ()>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot wait for signals: {error}"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// The folder `.demo/`, fresh, for this user alone.
fn work_folder() -> Result<PathBuf, String> {
    let work = process::workspace().join(".demo");
    if work.exists() {
        fs::remove_dir_all(&work)
            .map_err(|error| format!("cannot remove {}: {error}", work.display()))?;
    }
    DirBuilder::new()
        .mode(0o700)
        .create(&work)
        .map_err(|error| format!("cannot make {}: {error}", work.display()))?;
    Ok(work)
}

/// Makes sure that no other demo runs.
fn lock(path: &Path) -> Result<File, String> {
    let failed = |error: std::io::Error| format!("cannot lock {}: {error}", path.display());
    let file = File::create(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err("another demo is running".to_owned()),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
