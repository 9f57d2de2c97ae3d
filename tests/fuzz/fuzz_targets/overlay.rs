//! `cargo fuzz run overlay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::run("overlay", bytes));
