//! An `--initial-cluster` list.

#![no_main]

use integration_tests::attack::MEMBERS;

libfuzzer_sys::fuzz_target!(|data: &[u8]| (MEMBERS.body)(data));
