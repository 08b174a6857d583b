//! A whole backup through the import.

#![no_main]

use integration_tests::attack::FILE;

libfuzzer_sys::fuzz_target!(|data: &[u8]| (FILE.body)(data));
