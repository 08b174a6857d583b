//! The messages of a snapshot.

#![no_main]

use integration_tests::attack::SNAPSHOT;

libfuzzer_sys::fuzz_target!(|data: &[u8]| (SNAPSHOT.body)(data));
