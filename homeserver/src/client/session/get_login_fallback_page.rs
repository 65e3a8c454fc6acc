//! `GET /_matrix/static/client/login/`
//!
//! Invariant: the page is the same for everybody: nothing that came with the request is written into it. It runs its own script alone,
//! named by its hash, talks to this server alone, and encrypts nothing: keys are the affair of the client that opened it.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#login-fallback>

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, header};
use sha2::{Digest, Sha256};

/// What asks for the password and hands the answer of `/login` to the client.
const SCRIPT: &str = include_str!("get_login_fallback_page/page.js");
/// The page around it.
const FRAME: &str = include_str!("get_login_fallback_page/page.html");

static PAGE: LazyLock<String> = LazyLock::new(|| FRAME.replace("@SCRIPT@", SCRIPT));
static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{hash}'; connect-src 'self'; form-action 'none'; \
         base-uri 'none'; frame-ancestors 'none'"
    )
});

/// Shows a page that performs the whole login, for clients that know none of the flows.
pub(crate) async fn get_login_fallback_page_route() -> Response {
    let mut response = PAGE.as_str().into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&CONTENT_SECURITY_POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}
