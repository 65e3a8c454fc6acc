//! What stories across crates are made of: servers, foreign peers, users, certificates.
//!
//! Everything here lives on loopback and in temporary folders, and ends when it is dropped. A helper that cannot do its
//! work panics, which fails the test that asked; nothing is skipped. Nothing sleeps: what must be waited for is a line,
//! a datagram or an answer, each with a limit.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of a test fails the test by panicking"
)]

pub mod alert_bot;
pub mod ca;
pub mod foreign;
pub mod postgres;
pub mod sdk;
pub mod server;
pub mod synapse;
pub mod user;
pub mod wire;

mod net;

/// The word in the name of every test user and in every body that a test sends, by which the captured log is searched.
pub const MARKER: &str = "quetzal";

/// Something that serves the client-server API.
pub trait Homeserver {
    /// The name in its users' ids: here always `address:port` of its federation listener.
    fn server_name(&self) -> &str;

    /// The base URL of its client-server API, without a slash at the end.
    fn client_url(&self) -> String;

    /// A client that trusts its certificate.
    fn http(&self) -> reqwest::Client;
}
