//! `nbd::fuzz::client_handshake` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nbd::fuzz::client_handshake(data));
