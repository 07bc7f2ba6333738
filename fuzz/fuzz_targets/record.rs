//! What anybody may publish about himself: SPF, DMARC and DKIM records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_auth::align::Dmarc;
use posthaste_auth::audit::published;
use posthaste_auth::spf;

fuzz_target!(|text: &str| {
    let _ = spf::check(text);
    let _ = spf::check(&format!("v=spf1 {text}"));
    let _ = published(text);
    if let Some(Ok(record)) = Dmarc::parse(&format!("v=DMARC1; p=none; {text}")) {
        assert!(record.rua.iter().all(|uri| !uri.contains(';')));
    }
});
