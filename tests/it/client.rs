//! One server and its clients.

mod bad_input;
mod operation;
mod tokens;
