//! Refusals one by one, the specification's vectors, and properties over arbitrary values.
//!
//! Vectors: <https://spec.matrix.org/v1.19/appendices/#examples>.

use proptest::prelude::*;

use super::*;
use crate::{limits::JSON_DEPTH_MAX, testing::any_value};

fn canonical(text: &str) -> Result<String, JsonError> {
    let object = parse_object(text.as_bytes(), 65_536)?;
    Ok(String::from_utf8(to_canonical_bytes(&object)?).unwrap())
}

#[test]
fn the_specifications_examples_become_canonical() {
    let check = |input: &str, expect: &str| assert_eq!(canonical(input).unwrap(), expect);
    check("{}", "{}");
    check(
        "{\n \"one\": 1,\n \"two\": \"Two\"\n}",
        r#"{"one":1,"two":"Two"}"#,
    );
    check(r#"{"b": "2", "a": "1"}"#, r#"{"a":"1","b":"2"}"#);
    check(r#"{"b":"2","a":"1"}"#, r#"{"a":"1","b":"2"}"#);
    check(r#"{"a": "日本語"}"#, r#"{"a":"日本語"}"#);
    check(r#"{"本": 2, "日": 1}"#, r#"{"日":1,"本":2}"#);
    check(r#"{"a": "\u65E5"}"#, r#"{"a":"日"}"#);
    check(r#"{"a": null}"#, r#"{"a":null}"#);
}

#[test]
fn bad_bytes_are_refused_by_name() {
    let check =
        |bytes: &[u8], expect: JsonError| assert_eq!(parse_object(bytes, 64).unwrap_err(), expect);
    check(b"{\"a\":\"\xff\"}", JsonError::NotUtf8);
    check(b"", JsonError::Syntax);
    check(b"{\"a\":1", JsonError::Syntax);
    check(b"{\"a\":1}x", JsonError::Syntax);
    check(b"{\"a\":\"\x00\"}", JsonError::Syntax);
    check(b"{\"a\":\"\\ud800\"}", JsonError::Syntax);
    check(b"{\"a\":NaN}", JsonError::Syntax);
    check(b"{\"a\":01}", JsonError::Syntax);
    check(b"[]", JsonError::NotAnObject);
    check(b"\"a\"", JsonError::NotAnObject);
    check(b"{\"a\":1,\"a\":1}", JsonError::DuplicateKey);
    check(b"{\"a\":1,\"\\u0061\":1}", JsonError::DuplicateKey);
    check(b"{\"x\":[{\"a\":1,\"a\":1}]}", JsonError::DuplicateKey);
    check(b"{\"a\":1.0}", JsonError::Number);
    check(b"{\"a\":1e3}", JsonError::Number);
    check(b"{\"a\":-0}", JsonError::Number);
    check(b"{\"a\":9007199254740992}", JsonError::Number);
    check(b"{\"a\":-9007199254740992}", JsonError::Number);
    check(b"{\"a\":99999999999999999999999}", JsonError::Number);
    check(&[b' '; 65], JsonError::TooLarge { bytes_max: 64 });
}

#[test]
fn the_greatest_integers_pass() {
    let text = r#"{"a":9007199254740991,"b":-9007199254740991}"#;
    assert_eq!(canonical(text).unwrap(), text);
}

#[test]
fn depth_is_bounded_by_both_readers() {
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let deepest = nested(JSON_DEPTH_MAX);
    assert!(canonical(&deepest).is_ok());
    assert_eq!(check_client_json(deepest.as_bytes(), 65_536), Ok(()));
    for levels in [JSON_DEPTH_MAX + 1, 127, 128, 200, 5_000] {
        assert_eq!(canonical(&nested(levels)).unwrap_err(), JsonError::TooDeep);
        assert_eq!(
            check_client_json(nested(levels).as_bytes(), 65_536),
            Err(JsonError::TooDeep)
        );
    }
}

#[test]
fn a_clients_body_may_hold_a_fraction_but_no_duplicate_key() {
    assert_eq!(check_client_json(br#"{"order":0.25}"#, 64), Ok(()));
    assert_eq!(
        check_client_json(br#"{"a":1,"\u0061":2}"#, 64),
        Err(JsonError::DuplicateKey)
    );
    assert_eq!(check_client_json(b"[1]", 64), Err(JsonError::NotAnObject));
    assert_eq!(check_client_json(b"{} {}", 64), Err(JsonError::Syntax));
    assert_eq!(check_client_json(b"\xff", 64), Err(JsonError::NotUtf8));
}

#[test]
fn a_peers_body_keeps_its_odd_numbers_and_its_deep_events() {
    let canonical = |text: &str| {
        let bytes = canonical_body(text.as_bytes(), 65_536)?;
        Ok::<_, JsonError>(String::from_utf8(bytes).unwrap())
    };
    let body = " { \"b\" : [ 1.50 , -0 , 1E+3 , 90071992547409930 , { } , [ ] ] ,\n\"\\u0061\" : \"\\u00e9\\/\\u0001\" } ";
    let expect = "{\"a\":\"\u{e9}/\\u0001\",\"b\":[1.50,-0,1E+3,90071992547409930,{},[]]}";
    assert_eq!(canonical(body).unwrap(), expect);
    assert_eq!(
        canonical(r#"{"a":1,"\u0061":2}"#),
        Err(JsonError::DuplicateKey)
    );
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    for levels in [TRANSACTION_DEPTH_MAX, TRANSACTION_DEPTH_MAX + 1, 5_000] {
        assert_eq!(canonical(&nested(levels)), Ok(nested(levels)));
        let is_whole = check_peer_json(nested(levels).as_bytes(), 65_536);
        assert_eq!(is_whole.is_ok(), levels <= TRANSACTION_DEPTH_MAX);
    }
}

#[test]
fn no_depth_and_no_order_of_keys_makes_a_peers_body_dear() {
    const LEVELS: usize = 300_000;
    // Were each level copied into the one around it, this would be terabytes.
    let body = format!(
        "{}{}",
        r#"{"b":[[{"b":"#.repeat(LEVELS) + "1",
        r#","a":1}],0],"a":{}}"#.repeat(LEVELS)
    );
    let expect = format!(
        "{}{}",
        r#"{"a":{},"b":[[{"a":1,"b":"#.repeat(LEVELS) + "1",
        "}],0]}".repeat(LEVELS)
    );
    let bytes = canonical_body(body.as_bytes(), 1 << 24).unwrap();
    assert!(bytes == expect.as_bytes());
    let brackets = format!("{{\"a\":{}{}}}", "[".repeat(LEVELS), "]".repeat(LEVELS));
    assert!(canonical_body(brackets.as_bytes(), 1 << 24).unwrap() == brackets.as_bytes());
    let open = "[".repeat(LEVELS);
    assert_eq!(
        canonical_body(open.as_bytes(), 1 << 24),
        Err(JsonError::Syntax)
    );
    assert_eq!(
        canonical_body(br#"{"a":"\ud800"}"#, 64),
        Err(JsonError::Syntax)
    );
    assert_eq!(canonical_body(b" [1]", 64), Err(JsonError::NotAnObject));
}

#[test]
fn the_spans_of_members_are_found() {
    let bytes = br#"{"a\"b":"}{\\","c":{"d":[1,{"e":2}],"f":"]"},"g":-1,"h":true}"#;
    let found = top_level(bytes)
        .map(|(key, at)| {
            (
                String::from_utf8(key.to_vec()).unwrap(),
                String::from_utf8(bytes[at].to_vec()).unwrap(),
            )
        })
        .collect::<Vec<_>>();
    let expect = [
        (r#"a\"b"#, r#""}{\\""#),
        ("c", r#"{"d":[1,{"e":2}],"f":"]"}"#),
        ("g", "-1"),
        ("h", "true"),
    ];
    assert_eq!(
        found,
        expect.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    assert_eq!(top_level(b"{}").count(), 0);
    assert_eq!(top_level(b"[1]").count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_we_write_we_read_back(object in prop::collection::btree_map(any::<String>(), any_value(), 0..5)) {
        let bytes = to_canonical_bytes(&object).unwrap();
        prop_assert_eq!(parse_object(&bytes, 1 << 20).unwrap(), object.clone());
        prop_assert_eq!(check_client_json(&bytes, 1 << 20), Ok(()));
        let pretty = serde_json::to_vec_pretty(&object).unwrap();
        prop_assert_eq!(canonical_body(&pretty, 1 << 20).unwrap(), bytes.clone());
        prop_assert_eq!(top_level(&bytes).count(), object.len());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_object(&bytes, 100);
        let _ = check_client_json(&bytes, 100);
        let _ = canonical_body(&bytes, 100);
        prop_assert!(top_level(&bytes).count() <= 200);
    }

    #[test]
    fn the_two_readers_agree_on_text(text in r#"[\[\]{}:," 0-9a\\.-]{0,40}"#) {
        let strict = parse_object(text.as_bytes(), 100);
        let shape = check_client_json(text.as_bytes(), 100);
        if strict != Err(JsonError::Number) {
            prop_assert_eq!(strict.clone().map(drop), shape);
        }
        if let Ok(object) = strict {
            let bytes = canonical_body(text.as_bytes(), 100).unwrap();
            prop_assert_eq!(bytes, to_canonical_bytes(&object).unwrap());
        }
    }
}
