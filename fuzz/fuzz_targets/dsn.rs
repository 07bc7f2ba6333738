//! Mail that came in: any octets are read, within the bounds that the crate promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_feedback::{RECIPIENTS_MAX, Report, read};

fuzz_target!(|octets: &[u8]| {
    if let Report::Dsn(dsn) = read(octets) {
        assert!((1..=RECIPIENTS_MAX).contains(&dsn.recipients.len()));
    }
});
