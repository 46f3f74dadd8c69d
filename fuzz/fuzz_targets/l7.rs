//! Requests, responses, bodies and rules of HTTP.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::l7::check(data));
