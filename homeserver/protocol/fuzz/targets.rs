//! What must hold of every parser that a stranger reaches, whatever the bytes.
//!
//! Invariant: no function here panics unless a parser is wrong. The fuzzer calls them, and so does `tests/fuzz.rs` with the files
//! of `corpus/`, their beginnings and their neighbours.

use passeur_protocol::{
    expiry,
    json::{canonical_body, check_client_json, parse_object, parse_pdu, to_canonical_bytes},
    limits::{PDU_BYTES_MAX, TRANSACTION_BYTES_MAX, WELL_KNOWN_BYTES_MAX, X_MATRIX_BYTES_MAX},
    server_acl::ServerAcl,
    signed::RawPdu,
    versions, well_known as delegated, x_matrix as header,
};
use ruma::{
    ServerName, api::federation::transactions::edu::Edu, encryption::DeviceKeys,
    room_version_rules::RoomVersionRules,
};
use serde_json::value::RawValue;

/// A host's 255 letters, a colon and a port.
const SERVER_NAME_BYTES_MAX: usize = 255 + 1 + 5;

/// The `Authorization` header of another server: what is read survives its text form, and nothing long is read.
pub fn x_matrix(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(read) = header::parse(text) else {
        return;
    };
    assert!(text.len() <= X_MATRIX_BYTES_MAX);
    let again = header::parse(&read.to_string());
    assert!(again.is_ok_and(|again| again.origin == read.origin
        && again.destination == read.destination
        && again.key == read.key
        && again.sig.as_bytes() == read.sig.as_bytes()));
    let is_ours = read
        .destination
        .as_ref()
        .is_none_or(|to| *to == read.origin);
    assert_eq!(header::parse_for(text, &read.origin).is_ok(), is_ours);
}

/// A server's name: its parts can be asked for, and make the name again.
pub fn server_name(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let Ok(name) = <&ServerName>::try_from(text) else {
        return;
    };
    assert!(text.len() <= SERVER_NAME_BYTES_MAX);
    assert!(text.starts_with(name.host()) && !name.host().is_empty());
    assert_eq!(name.port().is_some(), name.host().len() < text.len());
    let _ = name.is_ip_literal();
    let nobody = ServerAcl::new(RawValue::NULL);
    assert!(!nobody.is_allowed(name));
}

/// JSON of strangers: the strict reader, the reader for clients and the canonical form of a peer's body agree.
pub fn json(bytes: &[u8]) {
    let body = canonical_body(bytes, TRANSACTION_BYTES_MAX);
    if let Ok(canonical) = &body {
        // Nothing grows, and what is canonical stays as it is.
        assert!(canonical.len() <= bytes.len());
        assert_eq!(
            canonical_body(canonical, TRANSACTION_BYTES_MAX).as_ref(),
            Ok(canonical)
        );
    }
    if let Ok(object) = parse_object(bytes, PDU_BYTES_MAX) {
        assert_eq!(check_client_json(bytes, PDU_BYTES_MAX), Ok(()));
        assert_eq!(to_canonical_bytes(&object), body);
    }
    if check_client_json(bytes, PDU_BYTES_MAX).is_ok() {
        assert!(body.is_ok());
    }
}

/// An event of another server, in every room version.
pub fn pdu(bytes: &[u8]) {
    let Ok(object) = parse_pdu(bytes) else {
        return;
    };
    let raw = RawPdu::from_object(object);
    let _ = (raw.room_id(), raw.created_version());
    for version in versions::supported() {
        pdu_of(raw.clone(), &version.rules);
    }
}

fn pdu_of(raw: RawPdu, rules: &RoomVersionRules) {
    let Ok(event) = raw.check_format(rules) else {
        return;
    };
    let _ = event.required_keys(rules);
    let pdu = event.pdu();
    let _ = (pdu.is_state(), pdu.state_place(), expiry::may_expire(pdu));
    let _ = (
        expiry::stamp_of(&pdu.content),
        expiry::inherits_from(&pdu.content),
    );
    let acl = ServerAcl::new(&pdu.content);
    let _ = acl.is_allowed(pdu.sender.server_name());
}

/// The document at `/.well-known/matrix/server`, and the header beside it.
pub fn well_known(bytes: &[u8]) {
    if let Some(name) = delegated::delegation(bytes) {
        assert!(bytes.len() <= WELL_KNOWN_BYTES_MAX);
        server_name(name.as_bytes());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = delegated::max_age(text);
    }
}

/// An EDU: what is read can be written and read again.
pub fn edu(bytes: &[u8]) {
    if bytes.len() > TRANSACTION_BYTES_MAX {
        return;
    }
    let Ok(edu) = serde_json::from_slice::<Edu>(bytes) else {
        return;
    };
    let again = serde_json::to_vec(&edu);
    assert!(again.is_ok_and(|again| serde_json::from_slice::<Edu>(&again).is_ok()));
}

/// A device's keys, of a client or of another server.
pub fn device_keys(bytes: &[u8]) {
    let Ok(keys) = serde_json::from_slice::<DeviceKeys>(bytes) else {
        return;
    };
    let again = serde_json::to_vec(&keys);
    assert!(again.is_ok_and(|again| serde_json::from_slice::<DeviceKeys>(&again).is_ok()));
}
