//! Reports over a period: what is attached, packed and not, and the same behind the frame of an aggregate.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_auth::reports::{Findings, LINES_MAX, read};

fuzz_target!(|octets: &[u8]| {
    let mut framed = b"<feedback><report_metadata><org_name>m</org_name></report_metadata><policy_published>\
        <domain>a.example</domain></policy_published>"
        .to_vec();
    framed.extend_from_slice(octets);
    framed.extend_from_slice(b"</feedback>");
    for attached in [octets, &framed] {
        match read(attached).map(|summary| summary.about) {
            Ok(Findings::Dmarc { sources, .. }) => {
                assert!(sources.len() <= LINES_MAX && sources.iter().all(|source| source.passed <= source.messages));
            }
            Ok(Findings::Tls { failures, .. }) => assert!(failures.len() <= LINES_MAX),
            Err(why) => assert!(!why.is_empty()),
        }
    }
});
