//! What a user's power level allows beyond the authorisation rules.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels>

use std::sync::Arc;

use passeur_protocol::pdu::Pdu;
use ruma::{
    Int, UserId,
    room_version_rules::RoomVersionRules,
    state_res::events::{RoomCreateEvent, RoomPowerLevelsEvent},
};
use serde::Deserialize;

/// The level that redacting takes unless the room says otherwise.
const REDACT_DEFAULT: i32 = 50;

#[derive(Deserialize)]
struct Levels {
    redact: Option<Int>,
}

/// Whether `sender` may redact other servers' events.
pub(super) fn may_redact(
    sender: &UserId,
    create: Option<Arc<Pdu>>,
    levels: Option<Arc<Pdu>>,
    rules: &RoomVersionRules,
) -> bool {
    let Some(creators) = create
        .map(RoomCreateEvent::new)
        .and_then(|create| create.creators(&rules.authorization).ok())
    else {
        return false;
    };
    let is_creator = creators.contains(sender);
    if is_creator && rules.authorization.explicitly_privilege_room_creators {
        return true;
    }
    let Some(levels) = levels else {
        return is_creator;
    };
    let Ok(Levels { redact }) = serde_json::from_str(levels.content.get()) else {
        return false;
    };
    let need = redact.unwrap_or_else(|| REDACT_DEFAULT.into());
    let have = RoomPowerLevelsEvent::new(levels).user_power_level(sender, &rules.authorization);
    have.is_ok_and(|have| have >= need)
}
