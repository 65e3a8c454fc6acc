//! `GET /_matrix/client/v3/sync`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync>

use std::sync::Arc;

use axum::{extract::State, response::Response};
use ruma::api::client::{
    filter::FilterDefinition,
    sync::sync_events::v3::{self, Filter},
};

use crate::{
    accounts::SessionState,
    app::App,
    client::presence::set_presence,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
    sync::{SyncError, SyncRequest, filter::SyncFilter},
};

/// Answers when there is something to tell, or after the timeout; at once if the session ends.
///
/// Hundreds of these wait at any time. So what is needed only to begin is boxed, or gone before the wait, and so is what ends it.
pub(crate) fn sync_events_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> impl Future<Output = Result<Response, ApiError>> + Send {
    let timeout = request.timeout.unwrap_or_default();
    let session = Arc::clone(&requester.session_id);
    let presence = request.set_presence.clone();
    let checked = set_presence::check(&presence);
    if checked.is_ok() {
        app.presence.synced(&requester.user_id, presence);
    }
    let asked = {
        let app = app.clone();
        Box::pin(async move { sync_request(&app, requester, request).await })
    };
    async move {
        checked?;
        let request = asked.await?;
        tokio::select! {
            biased;
            answer = app.sync.answer(&request, timeout) => Ok(raw_json(answer?.body)),
            () = app.accounts.sessions().ended(&session) => Err(Box::pin(over(&app, &session)).await),
            () = app.drain.begun() => Ok(raw_json(app.sync.nothing_new(&request).await?.body)),
        }
    }
}

/// What a client is told whose session ended while it waited.
async fn over(app: &App, session: &str) -> ApiError {
    match app.accounts.sessions().state(session).await {
        Ok(SessionState::Locked) => ApiError::user_locked(),
        _ => ApiError::unknown_token(false),
    }
}

/// What a client asks for, from what it wrote.
///
/// # Errors
/// `M_INVALID_PARAM` for a token or a filter that cannot be used, `M_NOT_FOUND` for a filter that
/// was never stored.
pub(crate) async fn sync_request(
    app: &App,
    requester: Requester,
    request: v3::Request,
) -> Result<SyncRequest, ApiError> {
    let since = match request.since.as_deref() {
        // An empty token is what some clients begin with.
        None | Some("") => None,
        Some(token) => Some(token.parse().map_err(SyncError::Token)?),
    };
    let definition = match request.filter {
        None => FilterDefinition::default(),
        Some(Filter::FilterDefinition(definition)) => definition,
        Some(Filter::FilterId(id)) => stored_filter(app, &requester, &id).await?,
        Some(_) => return Err(ApiError::invalid_param("This filter is of no known kind")),
    };
    Ok(SyncRequest {
        user_id: requester.user_id,
        device_id: requester.device_id,
        since,
        filter: Arc::new(SyncFilter::new(definition).map_err(SyncError::Filter)?),
        full_state: request.full_state,
        use_state_after: request.use_state_after,
    })
}

async fn stored_filter(
    app: &App,
    requester: &Requester,
    id: &str,
) -> Result<FilterDefinition, ApiError> {
    let stored = app.store.filter(&requester.user_id, id).await?;
    let stored = stored.ok_or_else(|| ApiError::invalid_param("There is no such filter"))?;
    serde_json::from_str(&stored).map_err(|_| ApiError::internal())
}
