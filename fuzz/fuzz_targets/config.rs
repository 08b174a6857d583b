//! A configuration file.

#![no_main]

use integration_tests::attack::CONFIG;

libfuzzer_sys::fuzz_target!(|data: &[u8]| (CONFIG.body)(data));
