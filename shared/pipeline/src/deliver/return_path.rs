//! The return path: a signed token that finds its delivery again, the same over all attempts, since a greylist
//! that sees a new sender each time never ends.
//!
//! Local part: `b-`, then in lower-case base 32 the message (26), the group and place (7), and a MAC (16): 51
//! octets, case-insensitive, within the 64 of RFC 5321 4.5.3.1.1.

use hmac::{Hmac, Mac};
use posthaste_mail::{Address, Domain, ReversePath};
use sha2::Sha256;

use crate::row::Row;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of the MAC: 80 bits, which nobody guesses by mail.
const MAC_CHARS: usize = 16;

/// MAIL FROM for a row: its token at `domain`, or the reverse-path as given where there is no domain of ours.
pub fn mail_from(row: &Row, domain: Option<&Domain>, key: &[u8; 32]) -> ReversePath {
    match (&row.facts.reverse_path, domain) {
        (ReversePath::Null, _) => ReversePath::Null,
        (given, None) => given.clone(),
        (given, Some(domain)) => {
            let text = format!("b-{}@{domain}", token(row, key));
            Address::parse(&text).map_or_else(|_| given.clone(), ReversePath::Address)
        }
    }
}

/// A recipient alone in its part has a token of its own; a group shares one.
fn token(row: &Row, key: &[u8; 32]) -> String {
    let alone = row.recipients.len() == 1;
    let place = u32::from(row.key.part) << 1 | u32::from(alone);
    let mut token = row.key.message.as_str().trim_start_matches("msg_").to_owned();
    push_base32(&mut token, u64::from(place), 7);
    // HMAC takes keys of any length: this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return token };
    mac.update(b"return-path\0");
    mac.update(token.as_bytes());
    let digest = mac.finalize().into_bytes();
    for at in 0..MAC_CHARS {
        token.push(char::from(ALPHABET[usize::from(digest[at] & 31)]));
    }
    token
}

fn push_base32(text: &mut String, value: u64, chars: u32) {
    for at in (0..chars).rev() {
        let digit = (value >> (5 * at)) & 31;
        text.push(char::from(ALPHABET[usize::try_from(digit).unwrap_or(0)]));
    }
}
