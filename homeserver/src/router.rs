//! The whole URL table, one endpoint a line, by area in the folder `router/`.
//!
//! Invariant: an endpoint that is not in this table does not exist. Paths and methods come from
//! ruma's request types (`http/route.rs`); paths of our own are written out.

use std::collections::BTreeSet;

use axum::Router;

use crate::{app::App, config::Resource, http::error::ApiError};

mod accounts;
mod federation;
mod keys;
mod media;
mod reading;
mod rooms;
mod sync;

/// What a listener with these resources serves: to clients `/_matrix/client` and its well-known document, to other servers
/// `/_matrix/federation` and `/_matrix/key`, and the media of clients. What no route takes is answered as the specification says.
pub fn routes(app: &App, resources: &BTreeSet<Resource>) -> Router {
    let tables = resources.iter().map(|resource| match resource {
        Resource::Client => client_table(),
        Resource::Federation => federation::routes(),
        Resource::Media => media::routes(),
        // Not of Matrix; `http/edge.rs` adds it.
        Resource::Metrics => Router::new(),
    });
    tables
        .fold(Router::new(), Router::merge)
        .fallback(async || ApiError::unrecognized())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .with_state(app.clone())
}

/// What a listener for clients alone serves.
pub fn client(app: &App) -> Router {
    routes(app, &BTreeSet::from([Resource::Client]))
}

/// What a listener for other servers alone serves.
pub fn federation(app: &App) -> Router {
    routes(app, &BTreeSet::from([Resource::Federation]))
}

/// What a listener for media alone serves.
pub fn media(app: &App) -> Router {
    routes(app, &BTreeSet::from([Resource::Media]))
}

/// The client-server API without media.
fn client_table() -> Router<App> {
    accounts::routes()
        .merge(keys::routes())
        .merge(rooms::routes())
        .merge(reading::routes())
        .merge(sync::routes())
}
