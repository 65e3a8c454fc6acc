//! The content repository.

use axum::{
    Router,
    routing::{get, post, put},
};
use ruma::api::client::{authenticated_media as wire, media as wire_media};

use crate::{app::App, client::media::*, http::route::RouteExt};

/// The table. Uploads are routed by path, because their bodies are read in pieces.
pub(super) fn routes() -> Router<App> {
    let upload = post(create_content::create_content_route);
    let upload_async = put(create_content_async::create_content_async_route);
    let config = get(get_media_config::get_media_config_route);
    Router::new()
        .route("/_matrix/media/r0/upload", upload.clone())
        .route("/_matrix/media/v3/upload", upload)
        .route(
            "/_matrix/media/v3/upload/{server_name}/{media_id}",
            upload_async,
        )
        .route("/_matrix/media/r0/config", config.clone())
        .route("/_matrix/media/v3/config", config.clone())
        .route("/_matrix/client/v1/media/config", config)
        .endpoint::<wire_media::create_mxc_uri::v1::Request, _, _>(
            create_mxc_uri::create_mxc_uri_route,
        )
        .endpoint::<wire::get_content::v1::Request, _, _>(get_content::get_content_route)
        .endpoint::<wire::get_content_as_filename::v1::Request, _, _>(
            get_content_as_filename::get_content_as_filename_route,
        )
        .endpoint::<wire::get_content_thumbnail::v1::Request, _, _>(
            get_content_thumbnail::get_content_thumbnail_route,
        )
        .merge(unauthenticated())
}

/// The deprecated way, which old clients still ask for.
#[expect(
    deprecated,
    reason = "answered, so that old clients get the errcode that they know"
)]
fn unauthenticated() -> Router<App> {
    use unauthenticated::unauthenticated_route as refuse;
    Router::new()
        .endpoint::<wire_media::get_content::v3::Request, _, _>(refuse)
        .endpoint::<wire_media::get_content_as_filename::v3::Request, _, _>(refuse)
        .endpoint::<wire_media::get_content_thumbnail::v3::Request, _, _>(refuse)
}
