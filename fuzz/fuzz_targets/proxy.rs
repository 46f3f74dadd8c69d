//! Client and server of a proxied connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::proxy::check(data));
