//! `PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid>

use axum::extract::State;
use ruma::api::client::to_device::send_event_to_device::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Sends messages to devices, once for each transaction id.
pub(crate) async fn send_event_to_device_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let messages = request
        .messages
        .iter()
        .map(|(user, devices)| {
            let devices = devices
                .iter()
                .map(|(target, content)| (target.clone(), content.json()));
            (user.clone(), devices.collect())
        })
        .collect();
    let sender = (&*requester.user_id, &*requester.device_id);
    let event_type = request.event_type.to_string();
    app.accounts
        .send_to_device(sender, &event_type, request.txn_id.as_str(), messages)
        .await?;
    Ok(RumaResponse(v3::Response::new()))
}
