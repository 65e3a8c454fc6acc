//! `POST /_matrix/client/v3/pushers/set`
//!
//! Invariant: a push gateway is reached by https only, and is told event ids, never contents: a pusher that asks for more is taken,
//! and told no more.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3pushersset>

use axum::extract::State;
use ruma::api::client::push::{
    Pusher, PusherKind,
    set_pusher::v3::{PusherAction, Request, Response},
};

use crate::{
    app::App,
    client::config::{ITEM_BYTES_MAX, too_many},
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    store::{DeletePusher, SetPusher},
};

/// The longest application id, in bytes.
const APP_ID_BYTES_MAX: usize = 64;
/// The longest push key, in bytes.
const PUSHKEY_BYTES_MAX: usize = 512;

/// Sets or removes a pusher.
pub(crate) async fn set_pusher_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<Request>,
) -> ApiResult<Response> {
    match request.action {
        PusherAction::Post(data) => {
            let change = SetPusher {
                user_id: requester.user_id,
                device_id: requester.device_id,
                app_id: data.pusher.ids.app_id.clone(),
                pushkey: data.pusher.ids.pushkey.clone(),
                content: checked(&data.pusher)?,
                append: data.append,
            };
            if !app.store.commit(change).await?.output {
                return Err(too_many());
            }
            app.store.note_pusher_set();
        }
        PusherAction::Delete(ids) => {
            let change = DeletePusher {
                user_id: requester.user_id,
                app_id: ids.app_id,
                pushkey: ids.pushkey,
            };
            app.store.commit(change).await?;
        }
        _ => return Err(ApiError::bad_json("The pusher is of an unknown form")),
    }
    Ok(RumaResponse(Response::new()))
}

/// The pusher as it is stored, if it may be.
fn checked(pusher: &Pusher) -> Result<String, ApiError> {
    let ids = &pusher.ids;
    if ids.app_id.len() > APP_ID_BYTES_MAX || ids.pushkey.len() > PUSHKEY_BYTES_MAX {
        return Err(ApiError::invalid_param(
            "The application id or key is too long",
        ));
    }
    let PusherKind::Http(data) = &pusher.kind else {
        return Err(ApiError::invalid_param(
            "Only pushers of kind http are served",
        ));
    };
    let path = "/_matrix/push/v1/notify";
    if !data.url.starts_with("https://") || !data.url.ends_with(path) {
        return Err(ApiError::invalid_param(
            "The URL must begin with https:// and end in /_matrix/push/v1/notify",
        ));
    }
    let content = serde_json::to_string(pusher).map_err(|_| ApiError::internal())?;
    if content.len() > ITEM_BYTES_MAX {
        return Err(ApiError::too_large());
    }
    Ok(content)
}
