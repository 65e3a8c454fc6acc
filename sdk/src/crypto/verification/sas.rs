//! The short authentication string: agreeing on a key, what people compare, and the MACs by which each side says which keys are its.
//!
//! Invariant: whoever answers commits to its key before it has seen the other's, so that nobody in the middle has more than one try;
//! a message out of its order ends the verification. Spec:
//! <https://spec.matrix.org/v1.19/client-server-api/#short-authentication-string-sas-verification>

use std::collections::BTreeMap;

use ruma::{OwnedDeviceId, OwnedUserId, serde::JsonObject};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use vodozemac::{
    base64_encode,
    sas::{EstablishedSas, Mac, Sas as KeyPair},
};

use super::emoji::{Emoji, emoji};
use crate::crypto::{account::text, signing::canonical_bytes};

/// The method's name.
pub(super) const METHOD: &str = "m.sas.v1";

const KEY_AGREEMENT: &str = "curve25519-hkdf-sha256";
const HASH: &str = "sha256";
const MAC_V2: &str = "hkdf-hmac-sha256.v2";
/// As it was before its base64 was put right; taken only from those who offer nothing better.
const MAC_V1: &str = "hkdf-hmac-sha256";

/// More keys than this are not looked at in one message.
const KEYS_MAX: usize = 64;

/// Why a verification was ended, as the codes of `m.key.verification.cancel`.
pub(super) mod code {
    pub(in crate::crypto) const USER: &str = "m.user";
    pub(in crate::crypto) const TIMEOUT: &str = "m.timeout";
    pub(in crate::crypto) const UNKNOWN_METHOD: &str = "m.unknown_method";
    pub(in crate::crypto) const UNEXPECTED_MESSAGE: &str = "m.unexpected_message";
    pub(in crate::crypto) const KEY_MISMATCH: &str = "m.key_mismatch";
    pub(in crate::crypto) const INVALID_MESSAGE: &str = "m.invalid_message";
    pub(in crate::crypto) const ACCEPTED: &str = "m.accepted";
    pub(in crate::crypto) const MISMATCHED_COMMITMENT: &str = "m.mismatched_commitment";
    pub(in crate::crypto) const MISMATCHED_SAS: &str = "m.mismatched_sas";
}

/// The code with which to cancel.
pub(super) type Code = &'static str;

/// A user's device, as it stands in what both sides compute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) user_id: OwnedUserId,
    pub(super) device_id: OwnedDeviceId,
}

/// Both sides, and the verification's name.
#[derive(Debug, Clone)]
pub(super) struct Parties {
    pub(super) ours: Party,
    pub(super) theirs: Party,
    pub(super) flow_id: String,
    /// Whether the `start` that counts is ours.
    pub(super) we_started: bool,
}

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    mac_v2: bool,
    emoji: bool,
    decimal: bool,
}

/// How far the exchange has come.
pub(super) enum Sas {
    /// Our `start` is out.
    Started { start: JsonObject },
    /// Our `accept` is out: the commitment to this key pair.
    Accepted { keys: KeyPair, choice: Choice },
    /// Our key is out, and theirs must fit their commitment.
    KeySent {
        keys: KeyPair,
        start: JsonObject,
        commitment: String,
        choice: Choice,
    },
    /// Both have both keys.
    Agreed(Agreed),
}

/// The shared secret.
pub(super) struct Agreed {
    secret: EstablishedSas,
    choice: Choice,
    emoji_indices: [u8; 7],
    decimals: [u16; 3],
}

/// What a `start` of ours offers.
pub(super) fn offer() -> JsonObject {
    JsonObject::from_iter([
        ("method".to_owned(), METHOD.into()),
        ("key_agreement_protocols".to_owned(), json!([KEY_AGREEMENT])),
        ("hashes".to_owned(), json!([HASH])),
        (
            "message_authentication_codes".to_owned(),
            json!([MAC_V2, MAC_V1]),
        ),
        (
            "short_authentication_string".to_owned(),
            json!(["decimal", "emoji"]),
        ),
    ])
}

fn lists(content: &JsonObject, field: &str, name: &str) -> bool {
    let list = content.get(field).and_then(Value::as_array);
    list.is_some_and(|list| list.iter().any(|item| item.as_str() == Some(name)))
}

impl Choice {
    /// The best of what a `start` offers.
    fn from_offer(start: &JsonObject) -> Result<Self, Code> {
        let macs = "message_authentication_codes";
        let strings = "short_authentication_string";
        let choice = Self {
            mac_v2: lists(start, macs, MAC_V2),
            emoji: lists(start, strings, "emoji"),
            decimal: lists(start, strings, "decimal"),
        };
        let possible = text(start, "method") == Some(METHOD)
            && lists(start, "key_agreement_protocols", KEY_AGREEMENT)
            && lists(start, "hashes", HASH)
            && (choice.mac_v2 || lists(start, macs, MAC_V1))
            && (choice.emoji || choice.decimal);
        possible.then_some(choice).ok_or(code::UNKNOWN_METHOD)
    }

    /// What an `accept` chose of our offer.
    fn from_accept(accept: &JsonObject) -> Result<Self, Code> {
        let strings = "short_authentication_string";
        let mac = text(accept, "message_authentication_code");
        let choice = Self {
            mac_v2: mac == Some(MAC_V2),
            emoji: lists(accept, strings, "emoji"),
            decimal: lists(accept, strings, "decimal"),
        };
        let possible = text(accept, "key_agreement_protocol") == Some(KEY_AGREEMENT)
            && text(accept, "hash") == Some(HASH)
            && (choice.mac_v2 || mac == Some(MAC_V1))
            && (choice.emoji || choice.decimal);
        possible.then_some(choice).ok_or(code::UNKNOWN_METHOD)
    }
}

/// The commitment to a key, in answer to a `start`.
fn commitment(key: &str, start: &JsonObject) -> Result<String, Code> {
    let mut hash = Sha256::new();
    hash.update(key.as_bytes());
    hash.update(canonical_bytes(start).ok_or(code::INVALID_MESSAGE)?);
    Ok(base64_encode(hash.finalize()))
}

/// Answers a `start`: the next state, and the fields of an `accept`.
pub(super) fn accept(start: &JsonObject) -> Result<(Sas, JsonObject), Code> {
    let choice = Choice::from_offer(start)?;
    let keys = KeyPair::new();
    let commitment = commitment(&keys.public_key().to_base64(), start)?;
    let strings: Vec<&str> = [(choice.decimal, "decimal"), (choice.emoji, "emoji")]
        .into_iter()
        .filter_map(|(chosen, name)| chosen.then_some(name))
        .collect();
    let fields = JsonObject::from_iter([
        ("method".to_owned(), METHOD.into()),
        ("key_agreement_protocol".to_owned(), KEY_AGREEMENT.into()),
        ("hash".to_owned(), HASH.into()),
        (
            "message_authentication_code".to_owned(),
            if choice.mac_v2 { MAC_V2 } else { MAC_V1 }.into(),
        ),
        ("short_authentication_string".to_owned(), json!(strings)),
        ("commitment".to_owned(), commitment.into()),
    ]);
    Ok((Sas::Accepted { keys, choice }, fields))
}

impl Sas {
    /// Takes their `accept`: the next state, and our key to be sent.
    pub(super) fn take_accept(self, content: &JsonObject) -> Result<(Self, String), Code> {
        let Self::Started { start } = self else {
            return Err(code::UNEXPECTED_MESSAGE);
        };
        let choice = Choice::from_accept(content)?;
        let commitment = text(content, "commitment").ok_or(code::INVALID_MESSAGE)?;
        let keys = KeyPair::new();
        let key = keys.public_key().to_base64();
        let next = Self::KeySent {
            keys,
            start,
            commitment: commitment.to_owned(),
            choice,
        };
        Ok((next, key))
    }

    /// Takes their key: the next state, and our key if it is not out yet.
    pub(super) fn take_key(
        self,
        content: &JsonObject,
        parties: &Parties,
    ) -> Result<(Self, Option<String>), Code> {
        let their_key = text(content, "key").ok_or(code::INVALID_MESSAGE)?;
        let (keys, choice, answer) = match self {
            Self::Accepted { keys, choice } => {
                let answer = keys.public_key().to_base64();
                (keys, choice, Some(answer))
            }
            Self::KeySent {
                keys,
                start,
                commitment: committed,
                choice,
            } => {
                let expected = commitment(their_key, &start)?;
                // Padding, where somebody adds it, says nothing.
                if expected != committed.trim_end_matches('=') {
                    return Err(code::MISMATCHED_COMMITMENT);
                }
                (keys, choice, None)
            }
            Self::Started { .. } | Self::Agreed(_) => return Err(code::UNEXPECTED_MESSAGE),
        };
        let our_key = keys.public_key().to_base64();
        if our_key == their_key {
            return Err(code::INVALID_MESSAGE);
        }
        // Fails for keys of low order, whose shared secret everyone knows.
        let secret = keys.diffie_hellman_with_raw(their_key);
        let secret = secret.map_err(|_| code::INVALID_MESSAGE)?;
        let agreed = Agreed::new(secret, choice, &parties.sas_info(&our_key, their_key));
        Ok((Self::Agreed(agreed), answer))
    }
}

impl Parties {
    /// The information string of the short authentication string.
    fn sas_info(&self, our_key: &str, their_key: &str) -> String {
        let part =
            |party: &Party, key: &str| format!("{}|{}|{key}", party.user_id, party.device_id);
        let (ours, theirs) = (part(&self.ours, our_key), part(&self.theirs, their_key));
        let (first, second) = if self.we_started {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        format!(
            "MATRIX_KEY_VERIFICATION_SAS|{first}|{second}|{}",
            self.flow_id
        )
    }

    /// The information string of a MAC that `from` makes for `to`.
    fn mac_info(&self, from: &Party, to: &Party, item: &str) -> String {
        format!(
            "MATRIX_KEY_VERIFICATION_MAC{}{}{}{}{}{item}",
            from.user_id, from.device_id, to.user_id, to.device_id, self.flow_id
        )
    }
}

impl Agreed {
    fn new(secret: EstablishedSas, choice: Choice, info: &str) -> Self {
        let bytes = secret.bytes(info);
        let (first, second, third) = bytes.decimals();
        Self {
            emoji_indices: bytes.emoji_indices(),
            decimals: [first, second, third],
            secret,
            choice,
        }
    }

    /// What people compare, if both sides can show emoji.
    pub(super) fn emoji(&self) -> Option<Box<[Emoji; 7]>> {
        let emoji = || Box::new(self.emoji_indices.map(emoji));
        self.choice.emoji.then(emoji)
    }

    /// What people compare, if both sides can show numbers.
    pub(super) fn decimals(&self) -> Option<[u16; 3]> {
        self.choice.decimal.then_some(self.decimals)
    }

    /// The fields of our `mac`, for these keys by their ids (`ed25519:NAME`).
    pub(super) fn mac(&self, parties: &Parties, keys: &BTreeMap<String, String>) -> JsonObject {
        let info = |item: &str| parties.mac_info(&parties.ours, &parties.theirs, item);
        let ids: Vec<&str> = keys.keys().map(String::as_str).collect();
        let macs: JsonObject = keys
            .iter()
            .map(|(id, key)| (id.clone(), self.calculate(key, &info(id)).into()))
            .collect();
        let list = self.calculate(&ids.join(","), &info("KEY_IDS"));
        JsonObject::from_iter([
            ("mac".to_owned(), Value::Object(macs)),
            ("keys".to_owned(), list.into()),
        ])
    }

    /// Checks their `mac` against the keys that we know as theirs; the ids of those that it covers.
    pub(super) fn check_mac(
        &self,
        parties: &Parties,
        content: &JsonObject,
        known: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, Code> {
        let info = |item: &str| parties.mac_info(&parties.theirs, &parties.ours, item);
        let macs = content.get("mac").and_then(Value::as_object);
        let macs = macs.filter(|macs| macs.len() <= KEYS_MAX);
        let (Some(macs), Some(list)) = (macs, text(content, "keys")) else {
            return Err(code::INVALID_MESSAGE);
        };
        let mut ids: Vec<&str> = macs.keys().map(String::as_str).collect();
        ids.sort_unstable();
        if !self.is_right(&ids.join(","), &info("KEY_IDS"), list) {
            return Err(code::KEY_MISMATCH);
        }
        let mut covered = Vec::new();
        for (id, mac) in macs {
            // Keys that we do not know are nothing that we could verify.
            let Some(key) = known.get(id) else { continue };
            if !self.is_right(key, &info(id), mac.as_str().unwrap_or_default()) {
                return Err(code::KEY_MISMATCH);
            }
            covered.push(id.clone());
        }
        if covered.is_empty() {
            return Err(code::KEY_MISMATCH);
        }
        Ok(covered)
    }

    fn calculate(&self, input: &str, info: &str) -> String {
        if self.choice.mac_v2 {
            self.secret.calculate_mac(input, info).to_base64()
        } else {
            self.secret.calculate_mac_invalid_base64(input, info)
        }
    }

    fn is_right(&self, input: &str, info: &str, mac: &str) -> bool {
        let mac = mac.trim_end_matches('=');
        if self.choice.mac_v2 {
            return Mac::from_base64(mac)
                .is_ok_and(|mac| self.secret.verify_mac(input, info, &mac).is_ok());
        }
        let expected = self.calculate(input, info);
        bool::from(
            expected
                .trim_end_matches('=')
                .as_bytes()
                .ct_eq(mac.as_bytes()),
        )
    }
}
