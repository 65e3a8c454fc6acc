//! What stays in the memory of a process: searched from inside, in a process of its own that never knew what it searches for in the clear.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    process::Command,
};

use base64::Engine;
use serde_json::Value;
use zeroize::Zeroize;

use super::world::*;
use crate::{
    EventContent,
    crypto::{OlmMachine, Record, SecretBytes, Table},
    expiry::ExpiryClass,
};

/// Names the file from which the child takes its part.
const FILE: &str = "PASSEUR_HEAP_SCAN";

/// Everything in the file, and everything searched for, is kept under this mask.
const MASK: u8 = 0x5a;

const CLASS: ExpiryClass = ExpiryClass::Seconds30;

fn masked(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ MASK).collect()
}

fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(masked(bytes))
}

/// Still under the mask.
fn decode(text: &str) -> Vec<u8> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    bytes.unwrap()
}

#[test]
fn after_the_deadline_memory_holds_neither_a_message_nor_its_key() {
    if let Ok(file) = env::var(FILE) {
        return child(&file);
    }
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let body = "quetzal at the usual place, half past four, come alone";
    let event = world.send(&mut bob, &members, body, lasting(CLASS));
    world.sync(&mut alice);
    let session = alice.machine.inbound.values_mut().next().unwrap();
    let key = session.session.export_at_first_known_index().to_bytes();
    // Version and index, then four parts of the ratchet.
    let parts = key[5..133].chunks(32);
    let needles: Vec<String> = std::iter::once(body.as_bytes())
        .chain(parts)
        .map(encode)
        .collect();
    let mut lines = vec![encode(event.to_string().as_bytes()), needles.join(" ")];
    for record in alice.records() {
        let table = Table::ALL.iter().position(|table| *table == record.table);
        let (key, value) = (encode(record.key.as_bytes()), encode(record.value.expose()));
        lines.push(format!("{} {key} {value}", table.unwrap()));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("part");
    fs::write(&file, lines.join("\n")).unwrap();
    let name = "crypto::tests::heap::after_the_deadline_memory_holds_neither_a_message_nor_its_key";
    let output = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(FILE, &file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}");
    assert!(said.contains("1 passed"), "{said}");
}

fn child(file: &str) {
    let mut lines = BufReader::new(File::open(file).unwrap()).lines();
    let mut line = || lines.next().map(Result::unwrap);
    let event = masked(&decode(&line().unwrap()));
    let event = ruma::serde::Raw::from_json_string(String::from_utf8(event).unwrap()).unwrap();
    let needles: Vec<Vec<u8>> = line().unwrap().split(' ').map(decode).collect();
    let mut records = Vec::new();
    while let Some(line) = line() {
        let parts: Vec<&str> = line.split(' ').collect();
        records.push(Record {
            table: Table::ALL[parts[0].parse::<usize>().unwrap()],
            key: String::from_utf8(masked(&decode(parts[1]))).unwrap(),
            value: SecretBytes::new(masked(&decode(parts[2]))),
        });
    }
    let machine = OlmMachine::load(&user("alice"), "ALICE1".into(), records);
    let mut machine = machine.unwrap().unwrap();
    let staged = machine.decrypt_room_event(&room(), &event, START_MS);
    let (changes, decrypted) = staged.unwrap().into_parts();
    drop(changes);
    let content = EventContent::new(decrypted.content);
    let found = search(&needles);
    // The control: while the message may be read, it is found, and so is its key.
    assert!(found[0] > 0, "the search does not find what is there");
    assert!(found[1..].iter().all(|count| *count > 0), "{found:?}");
    drop(content);
    let swept = machine.sweep(START_MS + 2 * CLASS.as_ms()).unwrap();
    let (changes, outcome) = swept.into_parts();
    assert_eq!(outcome.sessions_deleted, 1);
    drop(changes);
    let found = search(&needles);
    assert!(
        found.iter().all(|count| *count == 0),
        "left behind: {found:?}"
    );
}

/// How often each is in the memory that this process can write, but for its stacks, whose frames are not wiped by anybody.
fn search(needles: &[Vec<u8>]) -> Vec<usize> {
    const CHUNK: u64 = 1 << 20;
    let here = 0_u8;
    let stack = std::ptr::from_ref(&here).addr() as u64;
    let longest = needles.iter().map(Vec::len).max().unwrap() as u64;
    let mut chunk = vec![0_u8; (CHUNK + longest) as usize];
    let own = chunk.as_ptr().addr() as u64;
    let own = own..own + chunk.len() as u64;
    let memory = File::open("/proc/self/mem").unwrap();
    let mut counts = vec![0; needles.len()];
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let readable = rest.starts_with("rw") && !rest.contains("[stack]");
        if !readable || (start..end).contains(&stack) {
            continue;
        }
        let mut at = start;
        while at < end {
            let length = (end - at).min(CHUNK + longest) as usize;
            if memory.read_exact_at(&mut chunk[..length], at).is_err() {
                break;
            }
            for (needle, count) in needles.iter().zip(&mut counts) {
                let first = needle[0] ^ MASK;
                let window = &chunk[..length];
                let starts = window
                    .iter()
                    .enumerate()
                    .filter(|(_, byte)| **byte == first);
                let hits = starts.filter(|(index, _)| {
                    let address = at + *index as u64;
                    let found = window.get(*index..*index + needle.len());
                    !own.contains(&address)
                        && *index < CHUNK as usize
                        && found.is_some_and(|found| {
                            found
                                .iter()
                                .zip(needle)
                                .all(|(byte, masked)| byte ^ MASK == *masked)
                        })
                });
                *count += hits.count();
            }
            at += CHUNK;
        }
    }
    chunk.zeroize();
    counts
}

#[test]
fn the_mask_is_undone_by_itself() {
    assert_eq!(masked(&masked(b"x")), b"x");
    let event: Value = serde_json::from_slice(&masked(&decode(&encode(b"{}")))).unwrap();
    assert!(event.is_object());
}
