//! `GET /_matrix/client/v3/notifications`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3notifications>

use axum::{extract::State, response::Response};
use ruma::api::client::push::get_notifications::v3;

use crate::{
    app::App,
    client::reading::answer,
    http::{decode::Ruma, error::ApiError, requester::Requester},
    rooms::{
        json::JsonWriter,
        projection::{self, Extras, View},
    },
};

/// Notifications in one answer if the client does not say.
const PAGE_DEFAULT: usize = 50;
/// Notifications in one answer.
const PAGE_MAX: usize = 200;

/// Lists what the requester was notified of, newest first.
pub(crate) async fn get_notifications_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let below = request.from.map(|token| token.parse::<i64>()).transpose();
    let below = below.map_err(|_| ApiError::invalid_param("The token is not one of ours"))?;
    let limit = request.limit.map_or(PAGE_DEFAULT, |limit| {
        usize::try_from(limit).unwrap_or(PAGE_MAX)
    });
    let highlights_only = request.only.as_deref() == Some("highlight");
    let (found, next) = app
        .sync
        .notifications(
            &requester.user_id,
            below,
            limit.clamp(1, PAGE_MAX),
            highlights_only,
        )
        .await?;
    let view = View {
        now_ms: app.rooms.showing_ms(),
        with_room: false,
    };
    let mut out = JsonWriter::with_capacity(512 * found.len() + 64);
    out.open().key("notifications").open_list();
    for notifying in &found {
        let event = &notifying.event;
        out.element()
            .open()
            .key("actions")
            .value(&notifying.actions);
        projection::write_client_event(out.key("event"), event, &Extras::default(), view);
        out.key("read").boolean(notifying.is_read);
        out.key("room_id").string(event.pdu.room_id.as_str());
        out.key("ts").number(event.received_ts).close();
    }
    out.close_list();
    if let Some(next) = next {
        out.key("next_token").string(&next.to_string());
    }
    out.close();
    Ok(answer(out))
}
