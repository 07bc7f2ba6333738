//! Addresses, domains and mailboxes: what is read can be written, and what was written is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_mail::{Address, Domain, Mailbox};
use posthaste_pipeline::deliver::return_path;

fuzz_target!(|octets: &[u8]| {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let _ = Domain::parse(text);
    let _ = Mailbox::parse(text);
    if let Ok(address) = Address::parse(text) {
        assert_eq!(Address::parse(&address.to_string()).as_ref(), Ok(&address));
        assert!(return_path::read(&address, &[[0; 32]]).is_none());
    }
});
