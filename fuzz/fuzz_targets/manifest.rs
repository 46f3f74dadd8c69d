//! Manifests and PolicyTests, in YAML and JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::manifest::check(data));
