//! The Python peers (Synapse, matrix-nio and mautrix) in a virtual environment under `target/peers/venv`.
//!
//! `tests/peers/requirements.txt` pins every package; a copy of it inside the environment says what is installed there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{debian, process};

/// Makes sure that the environment is there as pinned, and gives the path of its Python.
pub(crate) fn ensure_peers(workspace: &Path) -> Result<PathBuf, String> {
    let venv = workspace.join("target/peers/venv");
    let python = venv.join("bin/python");
    let installed = venv.join("installed.txt");
    let requirements = workspace.join("tests/peers/requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .map_err(|error| format!("cannot read {}: {error}", requirements.display()))?;
    if python.exists() && fs::read_to_string(&installed).is_ok_and(|has| has == wanted) {
        return Ok(python);
    }
    debian::ensure_python_venv()?;
    process::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv),
    )?;
    process::run(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ])
            .arg(&requirements),
    )?;
    fs::write(&installed, wanted)
        .map_err(|error| format!("cannot write {}: {error}", installed.display()))?;
    Ok(python)
}
