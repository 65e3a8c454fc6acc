//! The machine against a small homeserver in memory: stories between devices, and attacks on them.
//!
//! Invariant: time is the world's and moves only when a test moves it; a client keeps nothing but the records it committed, so that
//! restarting it is a real restart.

mod attacks;
mod attacks_olm;
mod backup;
mod dehydrated;
mod expiry;
mod fallback;
mod garbage;
mod garbage_sharing;
mod heap;
mod identities;
mod qr;
mod sharing;
mod stories;
mod strangers;
mod trust;
mod verification;
mod views;
mod world;
