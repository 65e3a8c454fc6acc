//! The whole URL table, one endpoint a line, by area in the folder `router/`.
//!
//! Invariant: an endpoint that is not in this table does not exist. Paths and methods come from
//! ruma's request types (`http/route.rs`); paths of our own are written out.

use axum::Router;

use crate::{app::App, http::error::ApiError};

mod accounts;
mod federation;
mod keys;
mod media;
mod rooms;
mod sync;

/// Everything that is served to clients: `/_matrix/client` and its well-known document.
pub fn client(app: &App) -> Router {
    let routes = accounts::routes()
        .merge(keys::routes())
        .merge(rooms::routes())
        .merge(sync::routes());
    finish(routes, app)
}

/// Everything that is served to other servers: `/_matrix/federation` and `/_matrix/key`.
pub fn federation(app: &App) -> Router {
    finish(federation::routes(), app)
}

/// Upload and download of media by clients.
pub fn media(app: &App) -> Router {
    finish(media::routes(), app)
}

/// Answers what no route takes as the specification says, and hands the parts to the handlers.
fn finish(routes: Router<App>, app: &App) -> Router {
    routes
        .fallback(async || ApiError::unrecognized())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .with_state(app.clone())
}
