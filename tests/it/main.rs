//! Every test that spans crates, in one binary: tidiness of the source, stories, and stories with foreign peers.
//!
//! Stories are grouped as the specification's APIs are; those that need Synapse or matrix-nio stand under `peers`, so
//! that `--skip peers::` leaves them out.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails the test by panicking"
)]

mod client;
mod crash;
mod federation;
mod peers;
mod sdk;
mod tidy;
