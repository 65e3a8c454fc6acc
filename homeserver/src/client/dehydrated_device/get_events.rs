//! `GET` and `POST /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events`
//!
//! Invariant: reading deletes nothing, so that a client that fails half way can begin again.
//!
//! Clients in use send `POST` with `next_batch` in the body and read until nothing comes; the proposal's newest text has `GET` with
//! `from`, and an answer without `next_batch` as the last.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    response::Response,
};
use ruma::{DeviceId, UserId, api::client::dehydrated_device::get_events::unstable, serde::Raw};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse, serialized},
        error::ApiError,
        requester::Requester,
    },
    store::ToDeviceMessage,
};

/// How many messages one answer brings.
const MESSAGES_MAX: usize = 100;

/// Where the endpoint is.
pub(crate) const PATH: &str =
    "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events";

/// The query.
#[derive(Debug, Deserialize)]
pub(crate) struct From {
    from: Option<String>,
}

/// "the response must include a `next_batch` property if and only if there are more messages to be retrieved"
#[derive(Serialize)]
struct Answer {
    events: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
}

/// Gives a page of the messages that came for the requester's dehydrated device.
pub(crate) async fn get_events_route(
    State(app): State<App>,
    requester: Requester,
    Path(device): Path<String>,
    query: Result<Query<From>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(From { from }) = query.map_err(|_| ApiError::invalid_param("Not a query"))?;
    let device = device.as_str().into();
    let page = page(&app, &requester.user_id, device, from.as_deref()).await?;
    serialized(&Answer {
        events: page
            .messages
            .into_iter()
            .map(|message| message.event)
            .collect(),
        next_batch: page.next.filter(|_| page.is_more),
    })
}

/// The same for clients that read until nothing comes: there is always a next page.
pub(crate) async fn post_events_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<unstable::Request>,
) -> ApiResult<unstable::Response> {
    let from = request.next_batch;
    let page = page(
        &app,
        &requester.user_id,
        &request.device_id,
        from.as_deref(),
    )
    .await?;
    let events = page.messages.into_iter();
    let events = events
        .map(|message| Raw::from_json(message.event))
        .collect();
    let mut response = unstable::Response::new(events);
    response.next_batch = page.next.or(from);
    Ok(RumaResponse(response))
}

struct Page {
    messages: Vec<ToDeviceMessage>,
    next: Option<String>,
    is_more: bool,
}

async fn page(
    app: &App,
    user: &UserId,
    device: &DeviceId,
    from: Option<&str>,
) -> Result<Page, ApiError> {
    let known = app.keys.dehydrated(user).await?;
    if known.is_none_or(|known| *known.device_id != *device) {
        return Err(ApiError::forbidden("This is not the dehydrated device"));
    }
    let after = match from {
        Some(token) => position(token).ok_or_else(|| ApiError::invalid_param("Not a token"))?,
        None => 0,
    };
    let (limit, now_ms) = (MESSAGES_MAX as u64 + 1, app.clock.now_ms());
    let mut messages = app
        .store
        .to_device_of(user, device, after, i64::MAX, limit, now_ms)
        .await?;
    let is_more = messages.len() > MESSAGES_MAX;
    messages.truncate(MESSAGES_MAX);
    Ok(Page {
        next: messages
            .last()
            .map(|message| format!("d{}", message.position)),
        messages,
        is_more,
    })
}

fn position(token: &str) -> Option<i64> {
    let number = token.strip_prefix('d')?.parse().ok();
    number.filter(|position| *position >= 0)
}
