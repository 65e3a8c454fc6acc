//! Transactions of other servers.

pub(crate) mod send_transaction_message;
