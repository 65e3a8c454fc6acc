//! What a room should be like when it is made.
//!
//! Invariant: a room is encrypted unless its maker says otherwise in so many words.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>

use ruma::{
    OwnedUserId, RoomVersionId,
    api::client::room::create_room::v3::{Request, RoomPreset},
    serde::Raw,
};
use serde_json::{Value, json};

use super::ClientError;
use crate::base::{EXPIRY_POLICY_TYPE, ExpiryPolicy};

/// A room to be made; private and encrypted unless said otherwise.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewRoom {
    name: Option<String>,
    invite: Vec<OwnedUserId>,
    encrypted: bool,
    expiry: Option<ExpiryPolicy>,
    preset: RoomPreset,
    version: Option<RoomVersionId>,
}

impl Default for NewRoom {
    fn default() -> Self {
        Self {
            name: None,
            invite: Vec::new(),
            encrypted: true,
            expiry: None,
            preset: RoomPreset::PrivateChat,
            version: None,
        }
    }
}

impl NewRoom {
    /// A private, encrypted room.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its name. Servers see it.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Invites somebody.
    pub fn invite(mut self, user: OwnedUserId) -> Self {
        self.invite.push(user);
        self
    }

    /// Who is invited.
    pub(super) fn invited(&self) -> &[OwnedUserId] {
        &self.invite
    }

    /// How long its messages live.
    pub fn expiry(mut self, policy: ExpiryPolicy) -> Self {
        self.expiry = Some(policy);
        self
    }

    /// Who may join and see what.
    pub fn preset(mut self, preset: RoomPreset) -> Self {
        self.preset = preset;
        self
    }

    /// The room version, the server's default unless set.
    pub fn version(mut self, version: RoomVersionId) -> Self {
        self.version = Some(version);
        self
    }

    /// Leaves the room without encryption.
    pub fn unencrypted(mut self) -> Self {
        self.encrypted = false;
        self
    }

    pub(super) const fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    pub(super) fn into_request(self) -> Result<Request, ClientError> {
        let mut request = Request::new();
        request.name = self.name;
        request.invite = self.invite;
        request.preset = Some(self.preset);
        request.room_version = self.version;
        let mut state = Vec::new();
        if self.encrypted {
            state.push(initial(
                "m.room.encryption",
                json!({"algorithm": "m.megolm.v1.aes-sha2"}),
            ));
        }
        if let Some(policy) = self.expiry {
            state.extend(policy_state(&policy)?);
        }
        for event in state {
            let json = serde_json::value::to_raw_value(&event).map_err(|_| ClientError::Encode)?;
            request.initial_state.push(Raw::from_json(json));
        }
        Ok(request)
    }
}

fn initial(kind: &str, content: Value) -> Value {
    json!({"type": kind, "state_key": "", "content": content})
}

/// The policy, and beside it `m.room.retention`, so that servers that know only that purge too.
fn policy_state(policy: &ExpiryPolicy) -> Result<[Value; 2], ClientError> {
    let content = serde_json::to_value(policy).map_err(|_| ClientError::Encode)?;
    let retention = json!({"max_lifetime": policy.max_ms.or(policy.default_ms)});
    Ok([
        initial(EXPIRY_POLICY_TYPE, content),
        initial("m.room.retention", retention),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiry::ExpiryClass;

    fn types(room: NewRoom) -> Vec<String> {
        let request = room.into_request().unwrap();
        let events = request.initial_state.iter();
        events
            .map(|event| event.get_field("type").unwrap().unwrap())
            .collect()
    }

    #[test]
    fn a_room_is_encrypted_unless_said_otherwise() {
        assert_eq!(types(NewRoom::new()), ["m.room.encryption"]);
        assert!(types(NewRoom::new().unencrypted()).is_empty());
        let expiring = NewRoom::new().expiry(ExpiryPolicy::new(ExpiryClass::Day1));
        assert_eq!(
            types(expiring),
            ["m.room.encryption", EXPIRY_POLICY_TYPE, "m.room.retention"]
        );
    }
}
