//! The programs that the demo runs, built as this command itself was.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::process;

/// Where the programs are.
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Beside this very program.
    pub(crate) fn find() -> Result<Self, String> {
        let own =
            env::current_exe().map_err(|error| format!("this program has no path: {error}"))?;
        let folder = own.parent().ok_or("this program lies in no folder")?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// The folder that cargo builds into.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Builds them, silently unless that fails.
    pub(crate) fn build(&self) -> Result<(), String> {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(process::workspace()).args([
            "build",
            "--quiet",
            "--package",
            "passeur-homeserver",
            "--package",
            "passeur-bots",
            "--bins",
        ]);
        if self.folder.ends_with("release") {
            command.arg("--release");
        }
        process::capture(&mut command).map(drop)
    }

    /// The homeserver.
    pub(crate) fn passeur(&self) -> Command {
        self.command("passeur")
    }

    /// The alert bot.
    pub(crate) fn alert_bot(&self) -> Command {
        self.command("passeur-alert")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        // Only their configurations decide.
        for (name, _) in
            env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PASSEUR_"))
        {
            command.env_remove(name);
        }
        command
    }
}
