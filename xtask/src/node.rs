//! matrix-js-sdk and the Node that runs it, from npm, under `target/peers/js`.
//!
//! `tests/peers/js/package-lock.json` pins every package by its hash; a copy of it beside the packages says what is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{debian, process};

/// What says which packages, and from where.
const FILES: [&str; 3] = [".npmrc", "package.json", "package-lock.json"];

/// Makes sure that the packages are there as pinned, and gives their folder.
pub(crate) fn ensure_packages(workspace: &Path) -> Result<PathBuf, String> {
    let folder = workspace.join("target/peers/js");
    let pins = workspace.join("tests/peers/js");
    let installed = folder.join("installed.json");
    let lock = pins.join("package-lock.json");
    let wanted = fs::read_to_string(&lock)
        .map_err(|error| format!("cannot read {}: {error}", lock.display()))?;
    if fs::read_to_string(&installed).is_ok_and(|has| has == wanted) {
        return Ok(folder);
    }
    debian::ensure_npm()?;
    fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    for file in FILES {
        fs::copy(pins.join(file), folder.join(file))
            .map_err(|error| format!("cannot copy {file}: {error}"))?;
    }
    // No package's own scripts: nothing of what is used here needs one.
    process::run(
        Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .args(["--loglevel", "error"])
            .current_dir(&folder),
    )?;
    fs::write(&installed, wanted)
        .map_err(|error| format!("cannot write {}: {error}", installed.display()))?;
    Ok(folder)
}
