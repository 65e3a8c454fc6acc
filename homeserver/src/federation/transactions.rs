//! Transactions of other servers.

pub(crate) mod send_transaction_message;
pub(crate) mod turns;
