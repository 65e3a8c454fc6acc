//! Programs that run beside the demo.
//!
//! Invariant: each is asked to end by SIGTERM and waited for; if the demo itself comes to grief, they are killed.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::{process::Child, time::timeout};

use super::PAUSE;

/// How long a program may take to end: the promised ten seconds and a little.
const END_MAX: Duration = Duration::from_secs(12);

/// How many lines of its log are shown when a program fails.
const LOG_LINES_SHOWN: usize = 5;

/// A running program.
struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// How it ended, in words.
    fn epitaph(&self, status: ExitStatus) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!("{} ended: {status}\n{}", self.name, last.join("\n"))
    }
}

/// All that run.
#[derive(Default)]
pub(crate) struct Children(Vec<Running>);

impl Children {
    /// Starts a program whose standard error goes to the file `log`.
    pub(crate) fn start(
        &mut self,
        name: &str,
        mut command: Command,
        log: &Path,
    ) -> Result<(), String> {
        let file = File::create(log)
            .map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        let mut command = tokio::process::Command::from(command);
        // Ctrl-C goes to us alone, so that they end in order.
        command.kill_on_drop(true).process_group(0);
        let child = command
            .spawn()
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        self.0.push(Running {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        });
        Ok(())
    }

    /// An error about one of them that has ended, if any has.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        for running in &mut self.0 {
            if let Some(status) = running.ended() {
                return Err(running.epitaph(status));
            }
        }
        Ok(())
    }

    /// Waits until one of them ends, which none should; what became of it.
    pub(crate) async fn any_ended(&mut self) -> String {
        loop {
            if let Err(message) = self.check() {
                return message;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What went wrong, with a program's end if that may be why, and where the logs are.
    pub(crate) fn blame(&mut self, message: &str) -> String {
        let mut lines = vec![format!("The demo failed: {message}")];
        lines.extend(self.check().err());
        for running in &self.0 {
            lines.push(format!(
                "log of {}: {}",
                running.name,
                running.log.display()
            ));
        }
        lines.join("\n")
    }

    /// Asks all to end, the newest first, and waits for each. Who does not end in time is killed, which is an error.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        let mut stubborn = Vec::new();
        while let Some(mut running) = self.0.pop() {
            if let Some(id) = running.child.id() {
                let asked = Command::new("kill")
                    .args(["-TERM", &id.to_string()])
                    .status();
                let asked = asked.is_ok_and(|status| status.success());
                if !asked || timeout(END_MAX, running.child.wait()).await.is_err() {
                    let _ = running.child.kill().await;
                    stubborn.push(running.name);
                }
            }
        }
        if stubborn.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "did not end within {} s of SIGTERM: {}",
                END_MAX.as_secs(),
                stubborn.join(", ")
            ))
        }
    }
}
