//! Loses, repeats and delays diffs and snapshots of two symbols: a synchronised book equals the venue's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltica_core::book::scenario;

fuzz_target!(|scenario: &[u8]| scenario::run(scenario));
