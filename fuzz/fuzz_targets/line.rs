//! One line of a backup, and the command in it.

#![no_main]

use integration_tests::attack::LINE;

libfuzzer_sys::fuzz_target!(|data: &[u8]| (LINE.body)(data));
