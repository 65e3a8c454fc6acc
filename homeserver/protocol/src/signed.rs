//! From the bytes of a peer to an event whose signatures hold: one type for each proof.
//!
//! Invariant: a [`WellFormedPdu`] event obeys its room version's format and size; a [`SignedPdu`] one carries, besides, every
//! signature that its room version wants, and the content that its hash covers (or none). Whoever holds one need not check
//! again. Nothing says yet that the event is allowed: that is [`crate::check`].
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>, checks 1 to 3.

use std::{collections::BTreeMap, sync::Arc};

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedEventId,
    OwnedServerName, OwnedServerSigningKeyId, RoomId, RoomVersionId, ServerName,
    canonical_json::redact_in_place,
    events::TimelineEventType,
    room_version_rules::RoomVersionRules,
    signatures::{
        PublicKeyMap, Verified, reference_hash, required_server_signatures_to_verify_event,
        verify_event,
    },
};
use serde_json::value::RawValue;

use crate::{
    json::{self, JsonError},
    limits::{AUTH_EVENTS_MAX, KEYS_PER_SERVER_AND_EVENT_MAX, PDU_BYTES_MAX, PREV_EVENTS_MAX},
    pdu::{FORMAT, Pdu},
    reason::Reason,
    skeleton::{self, Stored},
};

/// The name of the signature check in a [`Reason`].
const SIGNATURES: &str = "event signatures";

/// An event as a peer sent it: an object and nothing more.
#[derive(Debug, Clone)]
pub struct RawPdu(CanonicalJsonObject);

impl RawPdu {
    /// Reads the bytes strictly (see [`json::parse_pdu`]). `unsigned` is forgotten: no one signed it.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::parse_pdu(bytes).map(Self::from_object)
    }

    /// Takes an object that was read strictly. `unsigned` is forgotten.
    pub fn from_object(mut object: CanonicalJsonObject) -> Self {
        object.remove("unsigned");
        Self(object)
    }

    /// The room that the event names: by it the caller finds the rules. `None` for a create event whose hash is the room.
    pub fn room_id(&self) -> Option<&RoomId> {
        <&RoomId>::try_from(self.0.get("room_id")?.as_str()?).ok()
    }

    /// The room version that a create event gives, by which its own rules are found. `None` for other events.
    pub fn created_version(&self) -> Option<ruma::RoomVersionId> {
        if self.0.get("type")?.as_str()? != "m.room.create" {
            return None;
        }
        match self.0.get("content")?.as_object()?.get("room_version") {
            None => Some(ruma::RoomVersionId::V1),
            Some(version) => version.as_str()?.try_into().ok(),
        }
    }

    /// Check 1 on receipt: the format and the sizes of the room version. An event that fails is to be dropped.
    pub fn check_format(self, rules: &RoomVersionRules) -> Result<WellFormedPdu, Reason> {
        self.check_format_with(rules, Edges::Bounded)
    }

    /// As [`RawPdu::check_format`], for an event of a room's past: "Though the PDU definitions require that `prev_events` and
    /// `auth_events` be limited in number, the response of backfill MUST NOT be validated on these specific restrictions."
    pub fn check_format_of_history(
        self,
        rules: &RoomVersionRules,
    ) -> Result<WellFormedPdu, Reason> {
        self.check_format_with(rules, Edges::Any)
    }

    fn check_format_with(
        self,
        rules: &RoomVersionRules,
        edges: Edges,
    ) -> Result<WellFormedPdu, Reason> {
        let json = json::to_canonical_bytes(&self.0)
            .map_err(|error| Reason::new(FORMAT, error.to_string()))?;
        check_format(&self.0, json.len(), rules, edges)?;
        let event_id = event_id_of(&self.0, rules)?;
        let pdu = Pdu::from_json(event_id, &json, rules)?;
        Ok(WellFormedPdu {
            pdu,
            object: self.0,
            json,
        })
    }
}

/// The identifier of an event: its reference hash. <https://spec.matrix.org/v1.19/rooms/v4/#event-ids>
pub fn event_id_of(
    object: &CanonicalJsonObject,
    rules: &RoomVersionRules,
) -> Result<OwnedEventId, Reason> {
    let hash =
        reference_hash(object, rules).map_err(|error| Reason::new(FORMAT, error.to_string()))?;
    OwnedEventId::try_from(format!("${hash}"))
        .map_err(|error| Reason::new(FORMAT, error.to_string()))
}

/// The identifier of an event that could not be read whole: what redaction takes away has no say in it, so that it has one even
/// where its content holds what no event may. `None` where what remains is missing or is no better.
pub fn event_id_of_unread(json: &str, rules: &RoomVersionRules) -> Option<OwnedEventId> {
    type Members<'a> = BTreeMap<String, &'a RawValue>;
    let canonical = |value: &RawValue| serde_json::from_str::<CanonicalJsonValue>(value.get()).ok();
    let members: Members<'_> = serde_json::from_str(json).ok()?;
    let readable = |members: Members<'_>| -> CanonicalJsonObject {
        let read = members.into_iter();
        read.filter_map(|(key, value)| Some((key, canonical(value)?)))
            .collect()
    };
    let content = members.get("content").copied()?;
    let content = readable(serde_json::from_str(content.get()).ok()?);
    let mut object = readable(members);
    object.insert("content".to_owned(), CanonicalJsonValue::Object(content));
    event_id_of(&object, rules).ok()
}

/// Whether the number of an event's edges is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edges {
    /// As the event format says.
    Bounded,
    /// By the size of the event alone.
    Any,
}

/// The format of one event. `json_bytes` is the length of its canonical form with signatures, without `unsigned`.
pub(crate) fn check_format(
    object: &CanonicalJsonObject,
    json_bytes: usize,
    rules: &RoomVersionRules,
    edges: Edges,
) -> Result<(), Reason> {
    const CHECKED: [&str; 8] = [
        "type",
        "sender",
        "room_id",
        "event_id",
        "state_key",
        "prev_events",
        "auth_events",
        "depth",
    ];
    let refuse = |detail: &str| Err(Reason::new(FORMAT, detail));
    if json_bytes > PDU_BYTES_MAX {
        return refuse("larger than an event may be");
    }
    // The size is checked above, to the byte, because the library's bound is one byte lower than the specification's: an
    // event of exactly that size would split the room. What remains for it to look at is small.
    let mut slim = CHECKED
        .iter()
        .filter_map(|key| object.get_key_value(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect::<CanonicalJsonObject>();
    if edges == Edges::Any {
        // Which events an event cites, its authorisation looks at; what is beyond the bounds is read as what is within them.
        for (key, count_max) in [
            ("prev_events", PREV_EVENTS_MAX),
            ("auth_events", AUTH_EVENTS_MAX),
        ] {
            if let Some(CanonicalJsonValue::Array(cited)) = slim.get_mut(key) {
                cited.truncate(count_max);
            }
        }
    }
    ruma::state_res::check_pdu_format(&slim, &rules.event_format)
        .map_err(|detail| Reason::new(FORMAT, detail))?;

    for key in ["content", "hashes", "signatures"] {
        if !object.get(key).is_some_and(CanonicalJsonValue::is_object) {
            return refuse("content, hashes or signatures is not an object");
        }
    }
    // A time before 1970 has no representation.
    if !matches!(object.get("origin_server_ts"), Some(CanonicalJsonValue::Integer(ts)) if i64::from(*ts) >= 0)
    {
        return refuse("origin_server_ts is not a time");
    }
    // No type or state key in use holds a NUL, and a database of text cannot keep one.
    let has_nul = |key: &str| {
        object
            .get(key)
            .and_then(CanonicalJsonValue::as_str)
            .is_some_and(|s| s.contains('\0'))
    };
    if has_nul("type") || has_nul("state_key") {
        return refuse("type or state_key holds a NUL");
    }
    Ok(())
}

/// Which keys verify an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredKeys {
    /// For each server that must have signed: the keys under which it did, at least one of which must be known.
    pub servers: BTreeMap<OwnedServerName, Vec<OwnedServerSigningKeyId>>,
    /// The time at which a key must have been valid to count, if the room version wants that.
    /// <https://spec.matrix.org/v1.19/rooms/v5/#signing-key-validity-period>
    pub valid_at: Option<MilliSecondsSinceUnixEpoch>,
}

/// An event that passed check 1 on receipt.
#[derive(Debug, Clone)]
pub struct WellFormedPdu {
    pdu: Pdu,
    object: CanonicalJsonObject,
    json: Vec<u8>,
}

impl WellFormedPdu {
    /// What the event claims.
    pub fn pdu(&self) -> &Pdu {
        &self.pdu
    }

    /// The same event with one more signature: a restricted join, for which the resident server vouches before it can
    /// be verified. Fails if the event would grow beyond [`PDU_BYTES_MAX`].
    pub fn co_sign(
        mut self,
        server_name: &ServerName,
        key_pair: &ruma::signatures::Ed25519KeyPair,
        rules: &RoomVersionRules,
    ) -> Result<Self, Reason> {
        add_signature(&mut self.object, server_name, key_pair, rules)?;
        self.json = bytes_of(&self.object)?;
        Ok(self)
    }

    /// The servers and keys that [`WellFormedPdu::verify`] wants. Fails where no key could help: drop the event then.
    pub fn required_keys(&self, rules: &RoomVersionRules) -> Result<RequiredKeys, Reason> {
        let signatures = self
            .object
            .get("signatures")
            .and_then(CanonicalJsonValue::as_object);
        let servers = required_server_signatures_to_verify_event(&self.object, &rules.signatures)
            .map_err(|error| Reason::new(SIGNATURES, error.to_string()))?;
        let servers = servers.into_iter().map(|server| {
            let keys = signatures
                .and_then(|all| all.get(server.as_str()))
                .and_then(CanonicalJsonValue::as_object)
                .into_iter()
                .flat_map(|of_server| of_server.keys())
                .filter(|id| id.starts_with("ed25519:"))
                .filter_map(|id| OwnedServerSigningKeyId::try_from(id.as_str()).ok())
                .take(KEYS_PER_SERVER_AND_EVENT_MAX)
                .collect::<Vec<_>>();
            if keys.is_empty() {
                return Err(Reason::new(SIGNATURES, "a server that must sign did not"));
            }
            Ok((server, keys))
        });
        Ok(RequiredKeys {
            servers: servers.collect::<Result<_, _>>()?,
            valid_at: rules
                .enforce_key_validity
                .then_some(self.pdu.origin_server_ts),
        })
    }

    /// Checks 2 and 3 on receipt: signatures (an event that fails is to be dropped) and content hash (an event that fails
    /// goes on in its redacted form, see [`SignedPdu::redacted_by_hash`]).
    ///
    /// `keys` holds what [`WellFormedPdu::required_keys`] asked for, without keys that were not valid at the time it names.
    pub fn verify(
        self,
        keys: &PublicKeyMap,
        rules: &RoomVersionRules,
    ) -> Result<SignedPdu, Reason> {
        let refuse = |detail: String| Reason::new(SIGNATURES, detail);
        let verified =
            verify_event(keys, &self.object, rules).map_err(|error| refuse(error.to_string()))?;
        let Self {
            pdu,
            mut object,
            json,
        } = self;
        match verified {
            Verified::All => Ok(SignedPdu {
                pdu: Arc::new(pdu),
                object,
                json,
                redacted_by_hash: false,
            }),
            Verified::Signatures => {
                redact_in_place(&mut object, &rules.redaction, None)
                    .map_err(|error| refuse(error.to_string()))?;
                let json =
                    json::to_canonical_bytes(&object).map_err(|error| refuse(error.to_string()))?;
                let pdu = Pdu::from_json(pdu.event_id, &json, rules)?;
                Ok(SignedPdu {
                    pdu: Arc::new(pdu),
                    object,
                    json,
                    redacted_by_hash: true,
                })
            }
        }
    }
}

/// An event that passed checks 1 to 3 on receipt, or that we built and signed.
#[derive(Debug, Clone)]
pub struct SignedPdu {
    pdu: Arc<Pdu>,
    object: CanonicalJsonObject,
    json: Vec<u8>,
    redacted_by_hash: bool,
}

impl SignedPdu {
    /// For [`crate::build`], which has just made all of these from each other.
    pub(crate) fn built(pdu: Pdu, object: CanonicalJsonObject, json: Vec<u8>) -> Self {
        Self {
            pdu: Arc::new(pdu),
            object,
            json,
            redacted_by_hash: false,
        }
    }

    /// What the event claims.
    pub fn pdu(&self) -> &Arc<Pdu> {
        &self.pdu
    }

    /// The event as an object, with hashes and signatures, without `unsigned`.
    pub fn object(&self) -> &CanonicalJsonObject {
        &self.object
    }

    /// The event in federation format, canonical.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Whether the content was dropped because it is not what the content hash covers.
    pub fn redacted_by_hash(&self) -> bool {
        self.redacted_by_hash
    }

    /// Whether it is a create event that names another version than `version`. One that names none says nothing: most
    /// versions' redaction takes the name away.
    pub fn creates_other_than(&self, version: &RoomVersionId) -> bool {
        let content = self.object.get("content");
        let named = content.and_then(|content| content.as_object()?.get("room_version"));
        self.pdu.kind == TimelineEventType::RoomCreate
            && named.is_some_and(|named| named.as_str() != Some(version.as_str()))
    }

    /// The two halves in which the event is stored.
    pub fn split(&self, rules: &RoomVersionRules) -> Result<Stored, Reason> {
        skeleton::split_with_json(&self.object, &self.json, rules)
    }

    /// The same event with one more signature: a restricted join or an invite, to which the resident or the invited server
    /// adds its own. The identifier stays. Fails if the event would grow beyond [`PDU_BYTES_MAX`].
    pub fn co_sign(
        mut self,
        server_name: &ServerName,
        key_pair: &ruma::signatures::Ed25519KeyPair,
        rules: &RoomVersionRules,
    ) -> Result<Self, Reason> {
        add_signature(&mut self.object, server_name, key_pair, rules)?;
        self.rewritten()
    }

    /// The same event with the signatures that `server` put on its copy of it: a resident on a restricted join, an invited
    /// server on an invite, a policy server. Nothing else of the copy is taken.
    ///
    /// Fails if the copy is another event, has no signature of that server, or makes the event too large. Whether the
    /// signatures hold is not checked here.
    pub fn with_signatures_of(
        mut self,
        copy: &RawPdu,
        server: &ServerName,
        rules: &RoomVersionRules,
    ) -> Result<Self, Reason> {
        let refuse = |detail: &str| Reason::new(SIGNATURES, detail);
        if event_id_of(&copy.0, rules)? != self.pdu.event_id {
            return Err(refuse("the signed copy is another event"));
        }
        let theirs = copy
            .0
            .get("signatures")
            .and_then(CanonicalJsonValue::as_object);
        let theirs = theirs.and_then(|all| all.get(server.as_str())?.as_object());
        let theirs =
            theirs.filter(|keys| (1..=KEYS_PER_SERVER_AND_EVENT_MAX).contains(&keys.len()));
        let theirs = theirs.ok_or_else(|| refuse("the copy is not signed by that server"))?;
        if !theirs.values().all(CanonicalJsonValue::is_string) {
            return Err(refuse("a signature is not a string"));
        }
        let Some(CanonicalJsonValue::Object(ours)) = self.object.get_mut("signatures") else {
            return Err(refuse("the event has no signatures"));
        };
        match ours.get_mut(server.as_str()) {
            // What is there already stays: another server must not undo a signature.
            Some(CanonicalJsonValue::Object(keys)) => {
                for (key_id, signature) in theirs {
                    keys.entry(key_id.clone())
                        .or_insert_with(|| signature.clone());
                }
            }
            _ => {
                ours.insert(
                    server.to_string(),
                    CanonicalJsonValue::Object(theirs.clone()),
                );
            }
        }
        self.rewritten()
    }

    /// Brings the bytes in line with the object after signatures were added.
    fn rewritten(mut self) -> Result<Self, Reason> {
        self.json = bytes_of(&self.object)?;
        Ok(self)
    }
}

/// Signs an event, beside the signatures that it has.
fn add_signature(
    object: &mut CanonicalJsonObject,
    server_name: &ServerName,
    key_pair: &ruma::signatures::Ed25519KeyPair,
    rules: &RoomVersionRules,
) -> Result<(), Reason> {
    let name = server_name.as_str();
    ruma::signatures::sign_event(name, key_pair, object, &rules.redaction)
        .map_err(|error| Reason::new(SIGNATURES, error.to_string()))
}

/// The canonical bytes of an event, if it is not too large.
fn bytes_of(object: &CanonicalJsonObject) -> Result<Vec<u8>, Reason> {
    let json =
        json::to_canonical_bytes(object).map_err(|error| Reason::new(FORMAT, error.to_string()))?;
    if json.len() > PDU_BYTES_MAX {
        return Err(Reason::new(FORMAT, "larger than an event may be"));
    }
    Ok(json)
}

#[cfg(test)]
mod tests;
