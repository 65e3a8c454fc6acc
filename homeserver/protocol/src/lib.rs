//! Passeur's Matrix core: build, check, resolve, prune and route events, without I/O.
//!
//! Invariant: nothing here is asynchronous, reads a clock, draws randomness or touches a network, a file or a database.
//! A function that lacks something says what it needs; the caller fetches it and asks again. Time is an argument.
//! Input from a peer or a client never panics, and is bounded by the constants of [`limits`].
//!
//! Reading order: [`limits`] and [`json`] (what may come in), [`versions`] (the rules of a room), [`pdu`] and [`signed`]
//! (what an event is, and the proof it carries), [`build`] and [`check`] (making and judging events), [`resolve`]
//! (the state of a room after a fork), [`skeleton`] (how an event is stored so that its content can die), [`expiry`] (when
//! it dies), [`visibility`] and [`push`] (who sees it, who is notified), [`destination`] (how a peer gets it), [`x_matrix`],
//! [`server_acl`] and [`well_known`] (which peer may speak, and where it is), [`membership`] (joining through another server),
//! [`power_levels`] and [`policy_server`].
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/>.

pub mod build;
pub mod check;
pub mod destination;
pub mod expiry;
pub mod glob;
pub mod json;
pub mod limits;
pub mod membership;
pub mod pdu;
pub mod policy_server;
pub mod power_levels;
pub mod push;
pub mod reason;
pub mod resolve;
pub mod server_acl;
pub mod signed;
pub mod skeleton;
#[cfg(test)]
mod testing;
pub mod versions;
pub mod visibility;
pub mod well_known;
pub mod x_matrix;
