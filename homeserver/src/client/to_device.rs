//! Messages to devices.
//!
//! Invariant: see `accounts/to_device.rs`; nothing is decided here.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging>

pub(crate) mod send_event_to_device;
