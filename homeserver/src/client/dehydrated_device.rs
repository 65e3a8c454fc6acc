//! The device that waits for its user without a client.
//!
//! Invariant: a user sees their own alone, and there is at most one.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use ruma::UserId;

use crate::{app::App, http::error::ApiError, store::DehydratedDevice};

pub(crate) mod delete_dehydrated_device;
pub(crate) mod get_dehydrated_device;
pub(crate) mod get_events;
pub(crate) mod put_dehydrated_device;

/// "If no dehydrated device is available, the server responds with an error code of `M_NOT_FOUND`, HTTP code 404."
async fn dehydrated_device_of(app: &App, user: &UserId) -> Result<DehydratedDevice, ApiError> {
    let device = app.keys.dehydrated(user).await?;
    device.ok_or_else(|| ApiError::not_found("There is no dehydrated device"))
}
