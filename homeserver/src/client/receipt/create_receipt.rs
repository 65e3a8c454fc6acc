//! `POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    EventId, RoomId,
    api::client::receipt::create_receipt::v3::{self, ReceiptType},
    events::receipt::ReceiptThread,
};

use crate::{
    app::App,
    client::reading::ReadableRoom,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    store::{Event, RecordFullyRead, RecordReceipt},
    sync::threads::{MAIN, threads_of},
};

/// Notes how far the requester has read.
pub(crate) async fn create_receipt_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let room = &request.room_id;
    let thread = match &request.thread {
        ReceiptThread::Unthreaded => String::new(),
        ReceiptThread::Main => MAIN.to_owned(),
        ReceiptThread::Thread(root) => root.to_string(),
        _ => return Err(ApiError::invalid_param("There is no such thread")),
    };
    match request.receipt_type {
        ReceiptType::Read => {
            record(&app, &requester, room, &request.event_id, false, thread).await?
        }
        ReceiptType::ReadPrivate => {
            record(&app, &requester, room, &request.event_id, true, thread).await?;
        }
        ReceiptType::FullyRead if thread.is_empty() => {
            record_fully_read(&app, &requester, room, &request.event_id).await?;
        }
        ReceiptType::FullyRead => {
            return Err(ApiError::invalid_param("m.fully_read knows no threads"));
        }
        _ => return Err(ApiError::invalid_param("There is no such type of receipt")),
    }
    Ok(RumaResponse(v3::Response::new()))
}

/// Records a receipt.
///
/// # Errors
/// `M_FORBIDDEN` if the requester is not in the room, `M_NOT_FOUND` if they see no such event,
/// `M_INVALID_PARAM` if it is not in the thread.
pub(crate) async fn record(
    app: &App,
    requester: &Requester,
    room: &RoomId,
    event: &EventId,
    private: bool,
    thread: String,
) -> Result<(), ApiError> {
    let room = ReadableRoom::joined(app, requester, room).await?;
    let event = room.event(event).await?;
    let Some(room_order) = event.room_order else {
        return Err(ApiError::not_found("There is no such event"));
    };
    if !is_in_thread(app, &event, &thread).await? {
        return Err(ApiError::invalid_param("The event is not in this thread"));
    }
    let receipt = RecordReceipt {
        room_id: room.snapshot.room_id.clone(),
        user_id: requester.user_id.clone(),
        private,
        thread,
        event_id: event.id().to_owned(),
        room_order,
        ts: app.clock.now_ms(),
    };
    app.store.commit(receipt).await?;
    Ok(())
}

/// Whether an event may be read in a thread; a thread's root, which is in the main timeline, may
/// be so in both.
async fn is_in_thread(app: &App, event: &Arc<Event>, thread: &str) -> Result<bool, ApiError> {
    if thread.is_empty() || event.id() == thread {
        return Ok(true);
    }
    let threads = threads_of(&app.store, std::slice::from_ref(event)).await?;
    Ok(threads.first().is_some_and(|found| found == thread))
}

/// Moves the requester's marker of what has been read in full: "The event MUST belong to the room."
///
/// # Errors
/// `M_FORBIDDEN` if the requester is not in the room, `M_NOT_FOUND` if they see no such event.
pub(crate) async fn record_fully_read(
    app: &App,
    requester: &Requester,
    room: &RoomId,
    event: &EventId,
) -> Result<(), ApiError> {
    let room = ReadableRoom::joined(app, requester, room).await?;
    let event = room.event(event).await?;
    let marker = RecordFullyRead {
        room_id: room.snapshot.room_id.clone(),
        user_id: requester.user_id.clone(),
        event_id: event.id().to_owned(),
    };
    app.store.commit(marker).await?;
    Ok(())
}
