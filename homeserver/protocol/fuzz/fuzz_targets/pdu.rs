//! Feeds `targets::pdu` with whatever the fuzzer thinks of.

#![no_main]

#[path = "../targets.rs"]
pub mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::pdu(bytes));
