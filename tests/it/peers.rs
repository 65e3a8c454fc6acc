//! Stories with servers and clients that no one here wrote. `cargo xtask test` installs them.

mod clients;
mod peers_among_themselves;
mod stories;
mod telling;
