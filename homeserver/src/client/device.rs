//! A user's own devices.
//!
//! Invariant: nothing is told of a device's use but the day; deleting one asks for the password.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#device-management>

use ruma::{MilliSecondsSinceUnixEpoch, UInt, api::client::device::Device as WireDevice};

use crate::store::Device;

pub(crate) mod delete_device;
pub(crate) mod delete_devices;
pub(crate) mod get_device;
pub(crate) mod get_devices;
pub(crate) mod update_device;

/// Milliseconds in a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A device as its owner sees it.
fn to_wire(device: Device) -> WireDevice {
    let seen = UInt::try_from(device.seen_day.saturating_mul(DAY_MS)).ok();
    let mut wire = WireDevice::new(device.device_id);
    wire.display_name = device.display_name;
    wire.last_seen_ts = seen.map(MilliSecondsSinceUnixEpoch);
    wire
}
