//! Installs missing Debian packages: as root directly, otherwise through `sudo` where that works without a question.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::process;

/// The programs of PostgreSQL 15, as Debian 12 packages them.
pub(crate) const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// Makes sure that the programs of PostgreSQL 15 are there.
pub(crate) fn ensure_postgres() -> Result<(), String> {
    if Path::new(POSTGRES_BIN).join("initdb").exists() {
        Ok(())
    } else {
        install("postgresql-15")
    }
}

/// Makes sure that Python 3 can make virtual environments.
pub(crate) fn ensure_python_venv() -> Result<(), String> {
    // `venv` alone can be imported from Debian's bare python3; making an environment needs `ensurepip` too.
    if process::succeeds("python3", &["-c", "import venv, ensurepip"]) {
        Ok(())
    } else {
        install("python3-venv")
    }
}

/// Makes sure that npm is there; the packages bring a Node of their own.
pub(crate) fn ensure_npm() -> Result<(), String> {
    if process::succeeds("npm", &["--version"]) {
        Ok(())
    } else {
        install("npm")
    }
}

/// Installs one package without those that it merely recommends.
fn install(package: &str) -> Result<(), String> {
    let root = process::is_root();
    if !root && !process::succeeds("sudo", &["-n", "true"]) {
        return Err(format!(
            "the Debian package {package} is missing: install it by `apt-get install {package}` as root, then try again"
        ));
    }
    // An old package list names files that the mirror no longer has, so it is fetched anew first.
    apt_get(root, &["update", "-qq"])?;
    apt_get(
        root,
        &["install", "-qq", "-y", "--no-install-recommends", package],
    )
}

fn apt_get(root: bool, arguments: &[&str]) -> Result<(), String> {
    let mut command = if root {
        Command::new("apt-get")
    } else {
        Command::new("sudo")
    };
    if !root {
        command.args(["-n", "--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
    }
    process::run(
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null()),
    )
}
