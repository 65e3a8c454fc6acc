//! Our SDK and our bots on our server.

mod alert_bot;
mod socket;
