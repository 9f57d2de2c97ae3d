//! `cargo fuzz run replication`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::run("replication", bytes));
