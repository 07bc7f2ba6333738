//! What a peer answers: read, judged at every stage, and asked for the wait it names. Whatever it says, a 4xx does not
//! bounce and only a recipient is suppressed.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use posthaste_mail::{Reply, Stage};
use posthaste_policy::{Action, Classifier, Observed, Scope, Suppress, wait_named};

fuzz_target!(|octets: &[u8]| {
    static RULES: OnceLock<Classifier> = OnceLock::new();
    let rules = RULES.get_or_init(|| Classifier::new(&[]).expect("no rules, no patterns"));
    let text = String::from_utf8_lossy(octets);
    let Some(reply) = Reply::parse(&text) else { return };
    let _ = wait_named(&reply);
    for stage in Stage::ALL {
        for recipients in [1, 2] {
            let observed = Observed { stage, reply: &reply, mx_host: None, recipients };
            let verdict = rules.classify(&observed);
            assert!(reply.is_permanent() || verdict.action != Action::Bounce);
            assert!(verdict.suppress == Suppress::No || (verdict.action == Action::Bounce && verdict.scope == Scope::Recipient));
        }
    }
});
