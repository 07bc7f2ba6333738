//! Names in the spool: what comes back from a store is read, and never as a range that ends before it begins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_pipeline::spool::place;

fuzz_target!(|octets: &[u8]| {
    let Ok(name) = std::str::from_utf8(octets) else { return };
    let place = place(name);
    assert!(name.starts_with(place.object));
    assert!(place.range.is_none_or(|range| range.start <= range.end));
});
