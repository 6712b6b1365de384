//! `nbd::fuzz::superblock` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nbd::fuzz::superblock(data));
