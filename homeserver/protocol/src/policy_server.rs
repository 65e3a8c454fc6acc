//! Check 7 on receipt: the recommendation of a room's policy server.
//!
//! Invariant: a room uses a policy server only if its state names one that has a joined user; an event without its
//! recommendation is soft-failed, never rejected.
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#policy-servers>.

use ruma::{
    ServerName, SigningKeyAlgorithm, events::room::policy::RoomPolicyEventContent,
    room_version_rules::RoomVersionRules, signatures::verify_policy_server_signature,
};

use crate::{pdu::Pdu, reason::Reason, signed::SignedPdu};

/// The policy server that the room's `m.room.policy` event names, if it is valid and `has_joined_user` says that the server
/// is in the room. Ask [`SignedPdu::with_signatures_of`] to add the signature that the server gives.
pub fn policy_of(
    event: Option<&Pdu>,
    has_joined_user: impl FnOnce(&ServerName) -> bool,
) -> Option<RoomPolicyEventContent> {
    let content = serde_json::from_str::<RoomPolicyEventContent>(event?.content.get()).ok()?;
    (content
        .public_keys
        .contains_key(&SigningKeyAlgorithm::Ed25519)
        && has_joined_user(&content.via))
    .then_some(content)
}

/// Whether the policy server recommends the event. An event that fails is to be soft-failed, or, if ours, not sent.
pub fn check_policy(
    signed: &SignedPdu,
    policy: &RoomPolicyEventContent,
    rules: &RoomVersionRules,
) -> Result<(), Reason> {
    verify_policy_server_signature(policy, signed.object(), rules)
        .map_err(|error| Reason::new("policy server", error.to_string()))
}

#[cfg(test)]
mod tests {
    use ruma::{serde::Base64, signatures::Ed25519KeyPair};
    use serde_json::json;

    use super::*;
    use crate::{
        signed::RawPdu,
        testing::{BOB, TestRoom, key_pair, policy_key_pair, raw},
    };

    fn policy_event(content: serde_json::Value) -> Pdu {
        let (room, state) = TestRoom::with_bob(RoomVersionRules::V12);
        let mut event = Pdu::clone(&room.at(&state, &"m.room.create".into(), "").unwrap());
        event.kind = "m.room.policy".into();
        event.content = raw(&content);
        event
    }

    fn policy(key_pair: &Ed25519KeyPair) -> RoomPolicyEventContent {
        RoomPolicyEventContent::new(
            "policy.example".try_into().unwrap(),
            Base64::new(key_pair.public_key().to_vec()),
        )
    }

    #[test]
    fn a_room_uses_a_policy_server_that_is_named_and_joined() {
        let key = Base64::<ruma::serde::base64::Standard>::new(vec![1; 32]).encode();
        let content = json!({ "via": "policy.example", "public_keys": { "ed25519": key } });
        assert!(
            policy_of(Some(&policy_event(content.clone())), |server| server
                == "policy.example")
            .is_some()
        );
        assert!(policy_of(Some(&policy_event(content)), |_| false).is_none());
        assert!(policy_of(None, |_| true).is_none());
        for odd in [
            json!({}),
            json!({ "via": "policy.example", "public_keys": {} }),
            json!({ "via": 5 }),
        ] {
            assert!(policy_of(Some(&policy_event(odd)), |_| true).is_none());
        }
    }

    #[test]
    fn only_its_own_signature_counts() {
        let rules = RoomVersionRules::V12;
        let (mut room, state) = TestRoom::with_bob(rules.clone());
        let event = room.build(&state, BOB, "m.room.message", None, json!({ "body": "x" }));
        let policy = policy(&policy_key_pair());
        assert!(check_policy(&event, &policy, &rules).is_err());

        let via = <&ServerName>::try_from("policy.example").unwrap();
        let answer = event
            .clone()
            .co_sign(via, &policy_key_pair(), &rules)
            .unwrap();
        let recommended = event
            .clone()
            .with_signatures_of(&RawPdu::parse(answer.json()).unwrap(), via, &rules)
            .unwrap();
        assert_eq!(check_policy(&recommended, &policy, &rules), Ok(()));

        let other_key = event.co_sign(via, &key_pair(), &rules).unwrap();
        assert!(check_policy(&other_key, &policy, &rules).is_err());
    }
}
