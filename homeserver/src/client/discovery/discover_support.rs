//! `GET /.well-known/matrix/support`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixsupport>

use axum::{extract::State, response::Response};
use ruma::api::client::discovery::discover_support::Request;
use serde_json::{Value, json};

use crate::{
    app::App,
    config::SupportContact,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
    },
};

/// Says whom people may turn to, if the operator has said so.
pub(crate) async fn discover_support_route(
    State(app): State<App>,
    Ruma(_): Ruma<Request>,
) -> Result<Response, ApiError> {
    let known = &app.config.well_known;
    if known.support_page.is_none() && known.support_contacts.is_empty() {
        return Err(ApiError::not_found("No contact is configured"));
    }
    let mut answer = json!({});
    if let Some(page) = &known.support_page {
        answer["support_page"] = page.as_str().into();
    }
    if !known.support_contacts.is_empty() {
        answer["contacts"] = known.support_contacts.iter().map(contact_json).collect();
    }
    Ok(raw_json(answer.to_string()))
}

fn contact_json(contact: &SupportContact) -> Value {
    let mut json = json!({"role": contact.role});
    if let Some(address) = &contact.email_address {
        json["email_address"] = address.as_str().into();
    }
    if let Some(user) = &contact.matrix_id {
        json["matrix_id"] = user.as_str().into();
    }
    json
}
