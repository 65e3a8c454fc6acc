//! The driver of matrix-sdk, built under `target/peers/matrix-sdk` in a workspace of its own with a lock of its own.

use std::path::{Path, PathBuf};

use crate::{process, test::cargo};

/// Makes sure that the driver is built from its source as it is, and gives its path.
pub(crate) fn ensure_driver(workspace: &Path) -> Result<PathBuf, String> {
    let target = workspace.join("target/peers/matrix-sdk");
    process::run(
        cargo()
            .args(["build", "--locked", "--quiet", "--manifest-path"])
            .arg("tests/peers/matrix_sdk/Cargo.toml")
            .arg("--target-dir")
            .arg(&target),
    )?;
    Ok(target.join("debug/matrix-sdk-peer"))
}
