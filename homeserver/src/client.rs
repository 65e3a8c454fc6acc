//! The client-server API: one endpoint a file, at ruma's module path.
//!
//! Invariant: a handler decodes, authorises and answers; it decides nothing that another endpoint
//! would have to decide again.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/>

pub(crate) mod account;
pub(crate) mod device;
pub(crate) mod discovery;
pub(crate) mod keys;
pub(crate) mod session;
pub(crate) mod to_device;

#[cfg(test)]
mod tests;
