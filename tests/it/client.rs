//! One server and its clients.

mod bad_input;
mod lost_database;
mod operation;
mod readme;
mod signals;
mod tokens;
