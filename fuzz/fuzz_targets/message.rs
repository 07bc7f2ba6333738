//! Messages on their way in: what is accepted leaves with whole lines only, and is accepted again as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste_mail::message::{Stamp, prepare};
use posthaste_mail::{Address, MessageId, Timestamp};

fuzz_target!(|octets: &[u8]| {
    let id = MessageId::from_random([7; 16]);
    let sender = Address::parse("hello@acme.example").expect("a plain address");
    let stamp = Stamp { hostname: "mta.example", id: &id, at: Timestamp(0), sender: Some(&sender) };
    if let Ok(prepared) = prepare(octets, &stamp) {
        let bytes = &prepared.bytes;
        assert!(bytes.iter().enumerate().all(|(at, &octet)| match octet {
            b'\r' => bytes.get(at + 1) == Some(&b'\n'),
            b'\n' => at > 0 && bytes[at - 1] == b'\r',
            0 => false,
            _ => true,
        }));
    }
});
