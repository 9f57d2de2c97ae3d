//! `cargo fuzz run vip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::run("vip", bytes));
