//! Requests to the agent, as they come in on its socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::api::check(data));
