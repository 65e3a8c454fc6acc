//! Bots that people deploy, one a file, on the SDK's bot framework.

pub mod alert;
