//! `cargo fuzz run encrypted`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::run("encrypted", bytes));
