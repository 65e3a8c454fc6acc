//! Requests that the machine wants sent, and the answers it wants back.
//!
//! Invariant: a request may be sent twice. To-device messages keep their transaction id until they are marked as sent, also
//! across restarts; the others are computed from state and are harmless to repeat.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#key-management-api>

use std::collections::BTreeMap;

use ruma::{
    OneTimeKeyAlgorithm, OwnedTransactionId, UInt,
    api::client::{
        keys::{claim_keys, get_keys, upload_keys, upload_signatures, upload_signing_keys},
        sync::sync_events::DeviceLists,
        to_device::send_event_to_device,
    },
    events::AnyToDeviceEvent,
    serde::Raw,
};

/// A request for the shell to send.
#[derive(Debug, Clone)]
pub struct OutgoingRequest {
    /// Names the request when its answer (or its failure) is handed back.
    pub id: OwnedTransactionId,
    /// What to send.
    pub body: OutgoingBody,
}

/// The kinds of requests.
#[derive(Debug, Clone)]
pub enum OutgoingBody {
    /// `POST /keys/upload`: our device keys, one-time and fallback keys.
    KeysUpload(upload_keys::v3::Request),
    /// `POST /keys/query`: the devices of users whose lists are outdated.
    KeysQuery(get_keys::v3::Request),
    /// `POST /keys/claim`: one-time keys of devices with which there is no Olm session.
    KeysClaim(claim_keys::v3::Request),
    /// `PUT /sendToDevice`: room keys, notices that keys are withheld, dummies.
    ToDevice(send_event_to_device::v3::Request),
    /// `POST /keys/signatures/upload`: signatures that we made.
    SignatureUpload(upload_signatures::v3::Request),
}

/// The answer to an [`OutgoingRequest`].
#[derive(Debug)]
pub enum IncomingResponse {
    /// Answer to [`OutgoingBody::KeysUpload`].
    KeysUpload(upload_keys::v3::Response),
    /// Answer to [`OutgoingBody::KeysQuery`].
    KeysQuery(get_keys::v3::Response),
    /// Answer to [`OutgoingBody::KeysClaim`].
    KeysClaim(claim_keys::v3::Response),
    /// A to-device message was taken.
    ToDevice,
    /// Answer to [`OutgoingBody::SignatureUpload`].
    SignatureUpload(upload_signatures::v3::Response),
}

/// Our cross-signing keys, to be uploaded: first the keys (the server asks for interactive authentication; put `auth` in and
/// repeat), then the signature of our own device.
#[derive(Debug, Clone)]
pub struct CrossSigningUpload {
    /// `POST /keys/device_signing/upload`.
    pub signing_keys: upload_signing_keys::v3::Request,
    /// `POST /keys/signatures/upload`, after the other succeeded.
    pub signatures: upload_signatures::v3::Request,
}

/// The parts of a sync response that concern the machine.
#[derive(Debug, Clone, Default)]
pub struct SyncChanges {
    /// `to_device.events`, in order.
    pub to_device: Vec<Raw<AnyToDeviceEvent>>,
    /// `device_lists`.
    pub device_lists: DeviceLists,
    /// `device_one_time_keys_count`.
    pub one_time_key_counts: BTreeMap<OneTimeKeyAlgorithm, UInt>,
    /// `device_unused_fallback_key_types`; `None` if the server does not know fallback keys.
    pub unused_fallback_keys: Option<Vec<OneTimeKeyAlgorithm>>,
}
