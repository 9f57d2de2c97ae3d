//! `cargo fuzz run rows`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::run("rows", bytes));
