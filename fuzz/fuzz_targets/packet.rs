//! Frames at every hook of the packet path.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::packet::check(data));
