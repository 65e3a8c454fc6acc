//! Account data: what clients keep at the server, globally or for a room.
//!
//! Invariant: an item is a JSON object of bounded size; what the server manages itself is not set here.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#client-config>

use http::StatusCode;
use ruma::api::error::ErrorKind;
use serde_json::value::RawValue;

use crate::http::error::ApiError;

pub(crate) mod get_global_account_data;
pub(crate) mod get_room_account_data;
pub(crate) mod set_global_account_data;
pub(crate) mod set_room_account_data;

/// The longest item, in bytes.
pub(super) const ITEM_BYTES_MAX: usize = 64 * 1024;
/// The longest type, in bytes.
const TYPE_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;
/// What is set by endpoints of its own; the rule "applies to both global and room-specific account data".
const MANAGED: [&str; 2] = ["m.fully_read", "m.push_rules"];

/// Whether an item may be stored under this type.
///
/// # Errors
/// 405 `M_BAD_JSON` for types that the server manages; `M_TOO_LARGE`; `M_BAD_JSON`.
fn check(event_type: &str, content: &RawValue) -> Result<(), ApiError> {
    if MANAGED.contains(&event_type) {
        return Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorKind::BadJson,
            "The server manages this type; it is set elsewhere",
        ));
    }
    if event_type.len() > TYPE_BYTES_MAX || content.get().len() > ITEM_BYTES_MAX {
        return Err(ApiError::too_large());
    }
    if !content.get().trim_start().starts_with('{') {
        return Err(ApiError::bad_json("The content is no object"));
    }
    Ok(())
}

/// What a user who keeps too many items is told.
pub(super) fn too_many() -> ApiError {
    ApiError::invalid_param("Too many items are kept for this user")
}
