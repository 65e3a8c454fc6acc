//! Devices of our users, for servers that share a room with them.

pub(crate) mod get_devices;
