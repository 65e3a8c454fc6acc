//! `POST /_matrix/federation/v1/user/keys/query`: identity keys of our users.
//!
//! Invariant: only keys that everybody may see leave, and a user who does not exist looks like one without devices. Servers
//! that share no room may ask: an invited user must be able to read what is sent before the join.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysquery>

use std::time::Duration;

use axum::extract::State;
use ruma::{
    api::federation::keys::get_keys::v1::{Request, Response},
    serde::Raw,
};

use crate::{
    accounts::keys::KeyQuery,
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
};

/// Answers for our own users; others are passed over.
///
/// # Errors
/// 500 if the database fails.
pub(crate) async fn get_keys(
    State(app): State<App>,
    Signed { request, .. }: Signed<Request>,
) -> ApiResult<Response> {
    let query = KeyQuery {
        users: request.device_keys,
        timeout: Duration::ZERO,
    };
    let answer = app.keys.query(None, query).await?;
    let devices = answer.device_keys.into_iter().map(|(user, devices)| {
        let devices = devices
            .into_iter()
            .map(|(device, keys)| (device, Raw::from_json(keys)));
        (user, devices.collect())
    });
    let mut response = Response::new(devices.collect());
    let masters = answer.master_keys.into_iter();
    response.master_keys = masters
        .map(|(user, key)| (user, Raw::from_json(key)))
        .collect();
    let self_signing = answer.self_signing_keys.into_iter();
    response.self_signing_keys = self_signing
        .map(|(user, key)| (user, Raw::from_json(key)))
        .collect();
    Ok(RumaResponse(response))
}
