//! `POST /_matrix/client/v3/users/{userId}/report`
//!
//! Invariant: the answer is the same whether there is such a user or not.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3usersuseridreport>

use axum::extract::State;
use ruma::api::client::reporting::report_user::v3;

use super::{Reported, keep};
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Reports a user.
pub(crate) async fn report_user_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let reported = Reported {
        user_id: Some(request.user_id),
        ..Reported::default()
    };
    keep(&app, &requester, reported, request.reason).await?;
    Ok(RumaResponse(v3::Response::new()))
}
