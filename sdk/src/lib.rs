//! A client of Matrix homeservers whose messages are encrypted end to end and expire.
//!
//! In reading order: [`Client`] (log in, sync, rooms), [`Room`] (say and hear), [`bot`] (programs that obey commands); below
//! them `sync_loop` and `send_queue` (the way in and the way out), [`base`] (what a sync says of rooms) and [`crypto`] (the
//! machine), both pure, [`store`] (the disk), [`http`] (the wire), [`expiry`] (lifetimes), [`clock`] (time and randomness).
//!
//! ```no_run
//! use passeur_sdk::Client;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder()
//!     .homeserver("https://matrix.example.org")
//!     .store("alice.db".as_ref(), "a passphrase")
//!     .build()
//!     .await?;
//! if !client.restore().await? {
//!     client.login_password("alice", "her password").await?;
//! }
//! let sync = client.start_sync()?;
//! for room in client.joined_rooms() {
//!     room.send_text("Hello").await?;
//! }
//! sync.stop().await;
//! # Ok(())
//! # }
//! ```

pub mod base;
pub mod bot;
mod client;
pub mod clock;
pub mod crypto;
pub mod expiry;
#[cfg(test)]
mod fake_server;
pub mod http;
mod room;
mod send_queue;
pub mod store;
mod sync_loop;

/// The README's examples, which are tried with this crate's.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub use client::{
    Blocked, Client, ClientBuilder, ClientError, Encrypted, Ended, Event, EventContent,
    MEDIA_BYTES_MAX, NewRoom, Notification, Protection, SecretStorage, SendUpdate, Stream,
};
pub use room::{ExpirySupport, PAGE_EVENTS_MAX, Page, Room, Timeline};
pub use send_queue::{QUEUE_ITEMS_MAX, SendFailure, SendOptions, Sending, Target};
pub use sync_loop::SyncHandle;
