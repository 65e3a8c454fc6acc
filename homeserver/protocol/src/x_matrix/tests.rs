//! Header forms that servers send, forms that are refused, and signatures over changed requests.

use proptest::prelude::*;

use super::*;
use crate::testing::{key_pair, public_keys};

const SIG: &str = "dGVzdA";

fn body() -> CanonicalJsonObject {
    crate::json::parse_object(br#"{ "pdus": [], "n": 1, "edus": ["\u0041"] }"#, 100).unwrap()
}

fn request(body: Body<'_>) -> SignedRequest<'_> {
    SignedRequest {
        method: "PUT",
        uri: "/_matrix/federation/v1/send/1?x=y",
        origin: "one.example".try_into().unwrap(),
        destination: "two.example:8448".try_into().unwrap(),
        body,
    }
}

#[test]
fn the_forms_that_servers_send_are_read() {
    for header in [
        r#"X-Matrix origin="one.example:1",destination="two.example",key="ed25519:a_1",sig="dGVzdA==""#,
        r#"X-Matrix origin=one.example:1,destination=two.example,key=ed25519:a_1,sig=dGVzdA"#,
        r#"X-Matrix origin=one.example:1,destination=two.example,key="ed25519:a_1",sig=dGVzdA=="#,
        "x-matrix   ORIGIN=\"one.example:1\" ,\t destination=\"two.example\",, KEY=\"ed25519:a_1\",x=\"\\\"\",sig=\"dGV\\zdA\",",
    ] {
        let parsed = parse(header).unwrap();
        assert_eq!(parsed.origin, "one.example:1");
        assert_eq!(
            parsed.destination.as_deref(),
            Some("two.example".try_into().unwrap())
        );
        assert_eq!(parsed.key, "ed25519:a_1");
        assert_eq!(parsed.sig.encode(), SIG);
    }
}

#[test]
fn malformed_headers_are_refused() {
    let check = |header: &str, expect: XMatrixError| {
        assert_eq!(parse(header).unwrap_err(), expect, "{header}")
    };
    check("", XMatrixError::Malformed);
    check("Bearer abc", XMatrixError::Malformed);
    check("X-Matrix", XMatrixError::Malformed);
    check("X-Matrix ", XMatrixError::Parameters);
    check(
        "X-Matrix origin=a.example,key=ed25519:1",
        XMatrixError::Parameters,
    );
    check(
        "X-Matrix origin=a.example,key=ed25519:1,sig=dGVzdA,ORIGIN=b.example",
        XMatrixError::Parameters,
    );
    check(
        "X-Matrix origin=a.example,key=ed25519:1,sig=!",
        XMatrixError::Malformed,
    );
    check(
        "X-Matrix origin=a b,key=ed25519:1,sig=dGVzdA",
        XMatrixError::Malformed,
    );
    check(
        "X-Matrix origin=\"a.example,key=ed25519:1,sig=dGVzdA",
        XMatrixError::Malformed,
    );
    check(
        "X-Matrix origin=\"a.example\"key=ed25519:1,sig=dGVzdA",
        XMatrixError::Malformed,
    );
    check(
        "X-Matrix origin=\"\",key=ed25519:1,sig=dGVzdA",
        XMatrixError::Malformed,
    );
    check(
        "X-Matrix origin=a.example,key=1,sig=dGVzdA",
        XMatrixError::Malformed,
    );
    check(
        "X-Matrix origin=é.example,key=ed25519:1,sig=dGVzdA",
        XMatrixError::Malformed,
    );
    check(
        &format!(
            "X-Matrix origin=a.example,key=ed25519:1,sig={}",
            "A".repeat(3_000)
        ),
        XMatrixError::Malformed,
    );
    let many = (0..20)
        .map(|n| format!("p{n}=x"))
        .collect::<Vec<_>>()
        .join(",");
    check(&format!("X-Matrix {many}"), XMatrixError::Malformed);
}

#[test]
fn a_request_for_another_server_is_refused() {
    let header = "X-Matrix origin=a.example,destination=b.example,key=ed25519:1,sig=dGVzdA";
    assert!(parse_for(header, "b.example".try_into().unwrap()).is_ok());
    assert_eq!(
        parse_for(header, "c.example".try_into().unwrap()).unwrap_err(),
        XMatrixError::Destination
    );
    let older = "X-Matrix origin=a.example,key=ed25519:1,sig=dGVzdA";
    assert!(parse_for(older, "c.example".try_into().unwrap()).is_ok());
}

#[test]
fn what_is_signed_verifies_and_the_header_survives_its_text_form() {
    let body = body();
    let bytes = to_canonical_bytes(&body).unwrap();
    for content in [Body::Empty, Body::Object(&body), Body::Canonical(&bytes)] {
        let request = request(content);
        let header = parse(&request.sign(&key_pair()).unwrap().to_string()).unwrap();
        assert_eq!(
            request.verify(&header, &public_keys(&["one.example"])),
            Ok(())
        );
    }
}

#[test]
fn what_is_signed_is_the_canonical_object_of_the_specification() {
    let body = body();
    let object = serde_json::json!({
        "method": "PUT", "uri": "/_matrix/federation/v1/send/1?x=y", "origin": "one.example",
        "destination": "two.example:8448", "content": body,
    });
    let canonical = ruma::CanonicalJsonValue::try_from(object)
        .unwrap()
        .to_string();
    assert_eq!(
        String::from_utf8(request(Body::Object(&body)).bytes().unwrap()).unwrap(),
        canonical
    );
}

#[test]
fn a_request_changed_in_any_part_is_refused() {
    let body = body();
    let header = request(Body::Object(&body)).sign(&key_pair()).unwrap();
    let keys = public_keys(&["one.example", "three.example"]);
    let three = <&ServerName>::try_from("three.example").unwrap();
    let other = CanonicalJsonObject::new();
    let honest = request(Body::Object(&body));
    for changed in [
        SignedRequest {
            method: "POST",
            ..honest
        },
        SignedRequest {
            uri: "/_matrix/federation/v1/send/2?x=y",
            ..honest
        },
        SignedRequest {
            body: Body::Empty,
            ..honest
        },
        SignedRequest {
            body: Body::Object(&other),
            ..honest
        },
    ] {
        assert_eq!(changed.verify(&header, &keys), Err(XMatrixError::Signature));
    }
    let elsewhere = SignedRequest {
        destination: three,
        ..honest
    };
    assert_eq!(
        elsewhere.verify(&header, &keys),
        Err(XMatrixError::Destination)
    );
    let mut without_destination = header.clone();
    without_destination.destination = None;
    assert_eq!(
        elsewhere.verify(&without_destination, &keys),
        Err(XMatrixError::Signature)
    );
    assert_eq!(honest.verify(&without_destination, &keys), Ok(()));
    let posing = SignedRequest {
        origin: three,
        ..honest
    };
    assert_eq!(
        posing.verify(&header, &keys),
        Err(XMatrixError::Destination)
    );
    assert_eq!(
        honest.verify(&header, &public_keys(&["two.example"])),
        Err(XMatrixError::Signature)
    );
    assert_eq!(
        honest.verify(
            &header,
            &PublicKeyMap::from([("one.example".to_owned(), Default::default())])
        ),
        Err(XMatrixError::Signature)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_header_panics(text in "(X-Matrix )?[a-z=\",\\\\ é:/-]{0,60}") {
        let _ = parse(&text);
    }
}
