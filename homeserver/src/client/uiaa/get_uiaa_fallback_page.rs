//! `GET` and `POST /_matrix/client/v3/auth/{authType}/fallback/web`
//!
//! Invariant: a page holds nothing that came with the request but the session's id, which consists of letters and digits; it loads
//! nothing, and can be framed by nobody.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#fallback>

use axum::{
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Uri, header};
use ruma::api::client::uiaa::{AuthData, AuthType};
use serde::Deserialize;
use serde_json::json;

use crate::{
    app::App,
    http::{decode::read_body, error::ApiError},
};

/// The longest form, in bytes.
const FORM_BYTES_MAX: usize = 4096;
/// What a page may do: run the few lines that tell the client of success, and send its form back.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
/// Tells the client that the stage is completed, as the specification says.
const DONE: &str = "<p>Done. You may close this page.</p><script>\
    if (window.onAuthDone) { window.onAuthDone(); } \
    else if (window.opener && window.opener.postMessage) { window.opener.postMessage('authDone', '*'); }\
    </script>";

/// What the form, or the query before it, says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Form {
    session: String,
    token: String,
    user: String,
    password: String,
}

/// Shows the form of a stage.
pub(crate) async fn get_uiaa_fallback_page_route(
    State(app): State<App>,
    Path(stage): Path<String>,
    Query(query): Query<Form>,
) -> Result<Response, ApiError> {
    let stage = known(&app, &stage, &query.session)?;
    Ok(page(&form(&stage, &query.session, "")))
}

/// Takes the form of a stage.
pub(crate) async fn submit_route(
    State(app): State<App>,
    Path(stage): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(body, FORM_BYTES_MAX).await?;
    let refused = || ApiError::invalid_param("The form cannot be read");
    let text = std::str::from_utf8(&body).map_err(|_| refused())?;
    let uri = Uri::try_from(format!("/?{text}")).map_err(|_| refused())?;
    let Query(form_sent) = Query::<Form>::try_from_uri(&uri).map_err(|_| refused())?;
    let session = form_sent.session.clone();
    let stage = known(&app, &stage, &session)?;
    let auth = auth_data(&stage, form_sent).ok_or_else(refused)?;
    if app.uia.complete(&session, &stage, &auth).await? {
        Ok(page(DONE))
    } else {
        Ok(page(&form(&stage, &session, "<p>That was not right.</p>")))
    }
}

/// The stage, if a session waits for it.
fn known(app: &App, stage: &str, session: &str) -> Result<AuthType, ApiError> {
    let stage = AuthType::from(stage);
    let is_plain = !session.is_empty() && session.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_plain && app.uia.waits_for(session, &stage) {
        Ok(stage)
    } else {
        Err(ApiError::not_found("No such authentication is under way"))
    }
}

/// What a client would have sent itself.
fn auth_data(stage: &AuthType, form: Form) -> Option<AuthData> {
    let (kind, session) = (stage.as_str(), form.session);
    let auth = match stage {
        AuthType::Dummy => json!({"type": kind, "session": session}),
        AuthType::RegistrationToken => {
            json!({"type": kind, "session": session, "token": form.token})
        }
        AuthType::Password => json!({
            "type": kind, "session": session, "password": form.password,
            "identifier": {"type": "m.id.user", "user": form.user},
        }),
        _ => return None,
    };
    serde_json::from_value(auth).ok()
}

fn form(stage: &AuthType, session: &str, before: &str) -> String {
    let fields = match stage {
        AuthType::RegistrationToken => {
            "<label>Registration token <input name=\"token\" required></label>"
        }
        AuthType::Password => {
            "<label>User <input name=\"user\" autocomplete=\"username\" required></label> \
             <label>Password <input name=\"password\" type=\"password\" required></label>"
        }
        _ => "<p>Nothing has to be proven.</p>",
    };
    format!(
        "{before}<form method=\"post\"><input type=\"hidden\" name=\"session\" value=\"{session}\">\
         {fields} <button>Continue</button></form>"
    )
}

fn page(inner: &str) -> Response {
    let html = format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Authentication</title>\
         <body>{inner}</body></html>"
    );
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(CONTENT_SECURITY_POLICY),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, html).into_response()
}
