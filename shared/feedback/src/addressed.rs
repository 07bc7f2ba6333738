//! To whom a message came, where no envelope is left: gateways that keep mail as files write it into the header, each in
//! its own field.

use crate::bound::{LOOKED_AT_OCTETS, RECIPIENTS_MAX};
use crate::mime::Fields;
use crate::prose::addresses;

/// Fields that name the envelope's recipient, the surest first; last the field that people read.
const FIELDS: [&str; 6] =
    ["Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To", "X-Forwarded-To", "To"];

/// The addresses a message may have come to, as its own header says; those of a message within it are not among them.
/// What they are worth is for a signature in them to say.
pub fn addressed_to(raw: &[u8]) -> Vec<String> {
    let (header, _) = Fields::read(&raw[..raw.len().min(LOOKED_AT_OCTETS)]);
    let named = FIELDS.iter().flat_map(|name| header.all(name)).flat_map(addresses);
    // `Received: from … by … for <token@bounces.example>; …` (RFC 5321 4.4).
    let traced =
        header.all("Received").filter_map(|field| field.split_once(" for ")).flat_map(|(_, rest)| {
            addresses(rest.split(';').next().unwrap_or(rest)).into_iter().take(1).collect::<Vec<_>>()
        });
    let mut found: Vec<String> = Vec::new();
    for address in named.chain(traced).take(RECIPIENTS_MAX) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}
