//! Stories with servers and clients that no one here wrote. `cargo xtask test` installs them.

mod others_and_sdk;
mod peers_among_themselves;
mod stories;
