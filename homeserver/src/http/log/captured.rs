//! A log that tests can read.
//!
//! Invariant: it is written by the same code as the real one.

use std::{
    env,
    fs::OpenOptions,
    io::Write,
    path::PathBuf,
    process,
    sync::{Arc, Mutex, Once},
};

use tracing::subscriber::DefaultGuard;

use super::subscriber::LineSubscriber;
use crate::{
    clock::MockClock,
    config::{LogConfig, LogFormat, LogLevel},
};

/// Keeps what all tests of this process log, at the finest level, in the folder that `PASSEUR_TEST_LOGS` names, if it does: the
/// test command searches it for what must not be there.
pub(crate) fn keep_all() {
    static STARTED: Once = Once::new();
    let Some(folder) = env::var_os("PASSEUR_TEST_LOGS").map(PathBuf::from) else {
        return;
    };
    STARTED.call_once(|| {
        let file = folder.join(format!("in-process-{}.log", process::id()));
        let file = OpenOptions::new().create(true).append(true).open(file);
        let config = LogConfig {
            level: LogLevel::Trace,
            format: LogFormat::Text,
        };
        let subscriber = LineSubscriber::new(
            config,
            Arc::new(MockClock::default()),
            Box::new(file.unwrap()),
        );
        tracing::subscriber::set_global_default(Arc::new(subscriber)).unwrap();
    });
}

/// What was logged so far.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Captures everything, at the finest level, that this thread logs as long as the guard lives.
    pub(crate) fn start() -> (Self, DefaultGuard) {
        let captured = Self::default();
        let subscriber = captured.subscriber(LogConfig {
            level: LogLevel::Trace,
            format: LogFormat::Text,
        });
        (captured, tracing::subscriber::set_default(subscriber))
    }

    /// What writes here.
    pub(super) fn subscriber(&self, config: LogConfig) -> Arc<LineSubscriber> {
        Arc::new(LineSubscriber::new(
            config,
            Arc::new(MockClock::default()),
            Box::new(self.clone()),
        ))
    }

    /// What was logged so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
