//! `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridroomsroomidaccount_datatype>

use axum::extract::State;
use ruma::api::client::config::set_room_account_data::v3;

use super::{check, too_many};
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::SetAccountData,
};

/// Stores an item of the requester's account data.
pub(crate) async fn set_room_account_data_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    requester.must_be(&request.user_id)?;
    let event_type = request.event_type.to_string();
    check(&event_type, request.data.json())?;
    let change = SetAccountData {
        user_id: requester.user_id,
        room_id: Some(request.room_id),
        event_type,
        content: request.data.json().get().to_owned(),
    };
    if app.store.commit(change).await?.output {
        Ok(RumaResponse(v3::Response::new()))
    } else {
        Err(too_many())
    }
}
