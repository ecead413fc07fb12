//! Events from a bin log, grouped into transactions and decoded into rows.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidelake_fuzz::decode(input));
