//! `nbd::fuzz::client_replies` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nbd::fuzz::client_replies(data));
