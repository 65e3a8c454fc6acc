//! `passeur serve`: from a configuration to a running server, its signals, and its end.
//!
//! Invariant: ten seconds after SIGTERM or SIGINT the process is gone, whatever hangs; what was acknowledged is on disk anyway.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, environment, runtime};
use crate::{
    clock::{Clock, OsRng, SystemClock, within},
    config::Config,
    http::log::{self, LogHandle},
    listener::DRAIN_LIMIT,
    server::Server,
};

/// How long the database may take to close.
const CLOSE_LIMIT: Duration = Duration::from_millis(1500);

// The promise is ten seconds in all.
const _: () = assert!(DRAIN_LIMIT.as_millis() + CLOSE_LIMIT.as_millis() < 10_000);

/// The signals that are heeded.
struct Signals {
    /// SIGTERM: end.
    terminate: Signal,
    /// SIGINT: end; a second time, at once.
    interrupt: Signal,
    /// SIGHUP: read again.
    hangup: Signal,
}

/// Serves until told to end.
pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = Config::load(file, environment())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = log::start(config.log, Arc::clone(&clock), Box::new(std::io::stderr()))?;
    let runtime = runtime()?;
    let served = runtime.block_on(serve(file, config, clock, log));
    // Whatever still runs had its time.
    runtime.shutdown_background();
    served
}

async fn serve(
    file: &Path,
    config: Config,
    clock: Arc<dyn Clock>,
    log: LogHandle,
) -> Result<(), Failure> {
    // Before the server starts, so that a signal at any moment ends it in good order.
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
    };
    let server = Server::start(config, Arc::clone(&clock), Arc::new(OsRng)).await?;
    for address in server.addresses() {
        tracing::info!(port = address.port(), "serving");
    }
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => reload(file, &server, &log),
            () = server.gave_up() => break,
        }
    }
    tracing::info!("ending: requests are finished, nothing new is accepted");
    tokio::select! {
        ended = within(&*clock, DRAIN_LIMIT + CLOSE_LIMIT, server.stop()) => match ended {
            Ok(()) => tracing::info!("ended"),
            Err(_) => tracing::warn!("not everything closed in time; what was acknowledged is on disk"),
        },
        _ = signals.interrupt.recv() => tracing::warn!("ended at once"),
    }
    Ok(())
}

/// Takes over what may change while running. A configuration that is wrong changes nothing.
fn reload(file: &Path, server: &Server, log: &LogHandle) {
    match Config::load(file, environment()) {
        Ok(config) => {
            log.set_level(config.log.level);
            server.reload(&config);
            for section in server.app().config.changed_sections(&config) {
                tracing::warn!(section, "changed, and taken over at the next start only");
            }
            tracing::info!("read again: certificates, log level, rate limits");
        }
        Err(error) => {
            let problems = error.problems.len();
            tracing::error!(
                problems,
                "the configuration is not taken over: passeur check-config says why"
            );
        }
    }
}
