//! The writes of a world, in their order.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::planner::check(data));
