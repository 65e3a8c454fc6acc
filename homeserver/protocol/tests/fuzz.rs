//! The fuzzer's corpus, replayed: every file, every beginning of it, and neighbours of it that differ in a few bits.
//!
//! Invariant: the neighbours are the same in every run.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use std::{fs, path::Path};

use proptest::{prelude::*, sample::Index, strategy::ValueTree, test_runner::TestRunner};

#[path = "../fuzz/targets.rs"]
pub mod targets;

/// Neighbours of each file.
const NEIGHBOURS: usize = 500;

/// Longest beginnings of which every one is tried; of longer files every so-manieth.
const BEGINNINGS_MAX: usize = 2_000;

/// The files of one target's corpus.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Runs `check` on a target's files and on what is near them. `takes` says whether the parser does; some of the files must be
/// taken and some refused, or else the corpus shows nothing.
fn replay(target: &str, check: fn(&[u8]), takes: fn(&[u8]) -> bool) {
    let files = corpus(target);
    for is_taken in [true, false] {
        assert!(
            files.iter().any(|(_, bytes)| takes(bytes) == is_taken),
            "{target}: a file that is taken ({is_taken})"
        );
    }
    let mut runner = TestRunner::deterministic();
    let flips = prop::collection::vec((any::<Index>(), 0..8_u8), 1..4);
    for (name, bytes) in &files {
        assert!(!bytes.is_empty(), "{target}/{name} is empty");
        check(bytes);
        for length in (0..bytes.len()).step_by(bytes.len().div_ceil(BEGINNINGS_MAX)) {
            check(&bytes[..length]);
        }
        let mut neighbour = bytes.clone();
        for _ in 0..NEIGHBOURS.min(4_000_000 / bytes.len()) {
            neighbour.copy_from_slice(bytes);
            for (at, bit) in flips.new_tree(&mut runner).unwrap().current() {
                neighbour[at.index(bytes.len())] ^= 1 << bit;
            }
            check(&neighbour);
        }
        // However long it is made, it is refused or read at once.
        check(&[bytes.as_slice(), &vec![b' '; 1 << 20]].concat());
        check(&bytes.repeat((1 << 20) / bytes.len()));
    }
}

#[test]
fn headers_of_servers_hold() {
    replay("x_matrix", targets::x_matrix, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        passeur_protocol::x_matrix::parse(&text).is_ok()
    });
}

#[test]
fn server_names_hold() {
    replay("server_name", targets::server_name, |bytes| {
        <&ruma::ServerName>::try_from(&*String::from_utf8_lossy(bytes)).is_ok()
    });
}

#[test]
fn json_holds() {
    replay("json", targets::json, |bytes| {
        passeur_protocol::json::parse_object(bytes, 65_536).is_ok()
    });
}

#[test]
fn events_hold() {
    replay("pdu", targets::pdu, |bytes| {
        let raw = passeur_protocol::signed::RawPdu::parse(bytes);
        let versions = passeur_protocol::versions::supported();
        raw.is_ok_and(|raw| {
            versions
                .iter()
                .any(|version| raw.clone().check_format(&version.rules).is_ok())
        })
    });
}

#[test]
fn delegations_hold() {
    replay("well_known", targets::well_known, |bytes| {
        passeur_protocol::well_known::delegation(bytes).is_some()
    });
}

#[test]
fn edus_hold() {
    use ruma::api::federation::transactions::edu::Edu;
    replay("edu", targets::edu, |bytes| {
        serde_json::from_slice::<Edu>(bytes).is_ok()
    });
}

#[test]
fn device_keys_hold() {
    use ruma::encryption::DeviceKeys;
    replay("device_keys", targets::device_keys, |bytes| {
        serde_json::from_slice::<DeviceKeys>(bytes).is_ok()
    });
}

#[test]
fn a_parser_that_panics_is_found() {
    // The control: one wrong byte in one file of the corpus is met.
    let brittle = |bytes: &[u8]| assert!(!bytes.contains(&0x01), "found");
    let found =
        std::panic::catch_unwind(|| replay("server_name", brittle, |bytes| bytes.len() > 20));
    assert!(found.is_err());
}
