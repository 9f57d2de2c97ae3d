//! `cargo fuzz run transfer_in`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::run("transfer_in", bytes));
