//! Reports to the operator.
//!
//! Invariant: an answer does not tell whether what was reported exists, except where the requester can see it anyway.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#reporting-content>

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};

use crate::{
    app::App,
    http::{error::ApiError, requester::Requester},
    store::{KeepReport, Report},
};

pub(crate) mod report_content;
pub(crate) mod report_room;
pub(crate) mod report_user;

/// Letters of a report's id.
const ID_CHARS: usize = 12;
/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 4096;

/// What is reported.
#[derive(Debug, Default)]
struct Reported {
    room_id: Option<OwnedRoomId>,
    event_id: Option<OwnedEventId>,
    user_id: Option<OwnedUserId>,
}

/// Keeps a report for the operator.
///
/// # Errors
/// `M_TOO_LARGE` for a reason that is a book, `M_LIMIT_EXCEEDED` for too many reports.
async fn keep(
    app: &App,
    requester: &Requester,
    reported: Reported,
    reason: String,
) -> Result<(), ApiError> {
    if reason.len() > REASON_BYTES_MAX {
        return Err(ApiError::too_large());
    }
    let report = Report {
        id: app.rng.token(ID_CHARS),
        reporter: requester.user_id.clone(),
        room_id: reported.room_id,
        event_id: reported.event_id,
        user_id: reported.user_id,
        reason,
        created_ms: app.clock.now_ms(),
    };
    if app.store.commit(KeepReport(report)).await?.output {
        Ok(())
    } else {
        Err(ApiError::busy())
    }
}
