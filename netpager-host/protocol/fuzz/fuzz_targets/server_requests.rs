//! `nbd::fuzz::server_requests` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nbd::fuzz::server_requests(data));
