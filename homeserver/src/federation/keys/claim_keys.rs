//! `POST /_matrix/federation/v1/user/keys/claim`: one-time keys of our users' devices.
//!
//! Invariant: a one-time key is given out once.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysclaim>

use axum::extract::State;
use http::StatusCode;
use ruma::{
    OwnedOneTimeKeyId,
    api::{
        error::ErrorKind,
        federation::keys::claim_keys::v1::{OneTimeKeys, Request, Response},
    },
    serde::Raw,
};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        error::ApiError,
        origin::Signed,
    },
};

/// Most devices of one request.
const DEVICES_MAX: usize = 5_000;

/// Answers for our own users; others are passed over.
///
/// # Errors
/// 400 `M_TOO_LARGE` for more devices than one request may name.
pub(crate) async fn claim_keys(
    State(app): State<App>,
    Signed { request, .. }: Signed<Request>,
) -> ApiResult<Response> {
    let devices: usize = request
        .one_time_keys
        .values()
        .map(|devices| devices.len())
        .sum();
    if devices > DEVICES_MAX {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            ErrorKind::TooLarge,
            "The request names too many devices",
        ));
    }
    let mut answer = OneTimeKeys::new();
    for (user, devices) in app.keys.claim_local(request.one_time_keys).await? {
        let of_user = answer.entry(user).or_default();
        for (device, keys) in devices {
            let keys = keys.into_iter().filter_map(|(id, key)| {
                let id = OwnedOneTimeKeyId::try_from(id).ok()?;
                Some((id, Raw::from_json(key)))
            });
            of_user.insert(device, keys.collect());
        }
    }
    Ok(RumaResponse(Response::new(answer)))
}
