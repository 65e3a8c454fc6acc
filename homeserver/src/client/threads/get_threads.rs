//! `GET /_matrix/client/v1/rooms/{roomId}/threads`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidthreads>

use axum::{extract::State, response::Response};
use ruma::api::client::threads::get_threads::v1::{self, IncludeThreads};

use crate::{
    app::App,
    client::reading::{ReadableRoom, answer, limit},
    http::{decode::Ruma, error::ApiError, requester::Requester},
    rooms::{ThreadQuery, json::JsonWriter},
    sync::token::RoomToken,
};

/// Threads of one page if the client does not say.
const PAGE_DEFAULT: u32 = 20;
/// Threads of one page.
const PAGE_MAX: usize = 100;

/// The roots of a room's threads, the one with the newest answer first.
pub(crate) async fn get_threads_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v1::Request>,
) -> Result<Response, ApiError> {
    let participated = match request.include {
        IncludeThreads::All => false,
        IncludeThreads::Participated => true,
        _ => {
            let message = "`include` is neither `all` nor `participated`";
            return Err(ApiError::invalid_param(message));
        }
    };
    if request.limit.is_some_and(|limit| limit == 0_u32.into()) {
        return Err(ApiError::invalid_param("The limit must be above 0"));
    }
    let room = ReadableRoom::open(&app, &requester, &request.room_id).await?;
    let before = match &request.from {
        Some(token) => Some(room.gap(token).await?.0),
        None => None,
    };
    let query = ThreadQuery {
        participated,
        before,
        limit: limit(request.limit.unwrap_or(PAGE_DEFAULT.into()), PAGE_MAX),
    };
    let (user, id) = (&requester.user_id, &request.room_id);
    let page = app.rooms.threads(user, &room.standing, id, query).await?;
    let mut out = JsonWriter::with_capacity(1024 * page.roots.len() + 64);
    let mut extras = room.extras(&page.roots).await?;
    let ignored = app.store.ignored_users(user).await?;
    for (root, extras) in page.roots.iter().zip(&mut extras) {
        // "If the thread root event was sent by an ignored user, the event is returned redacted to the caller."
        extras.withheld = ignored.contains(&root.pdu.sender);
    }
    room.write_with(out.open().key("chunk"), &page.roots, &extras);
    if let Some(next) = page.next {
        out.key("next_batch").string(&RoomToken(next).to_string());
    }
    out.close();
    Ok(answer(out))
}
