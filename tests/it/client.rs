//! One server and its clients.

mod tokens;
