//! The return path: a signed token that finds its delivery again, the same over all attempts, since a greylist
//! that sees a new sender each time never ends.
//!
//! Local part: `b-`, then in lower-case base 32 the message (26), the group and place (7), a tag of the tenant (12), and
//! a MAC (16): 63 octets, case-insensitive, within the 64 of RFC 5321 4.5.3.1.1. Rows are kept under their tenant's
//! name, and a report that comes from anywhere has none: who the tag stands for, the store's directory knows.

use hmac::{Hmac, Mac};
use posthaste_mail::{Address, Domain, MessageId, PartKey, ReversePath, Tenant};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ambient::Ambient;
use crate::row::Row;
use crate::stores::{StoreError, Stores};

/// What a token's local part begins with.
const PREFIX: &str = "b-";
/// Characters of a message's id, of its group and place, and of the MAC.
const MESSAGE_CHARS: usize = 26;
const PLACE_CHARS: usize = 7;
/// Characters of a tenant's tag: 60 bits, so that among a million tenants two share one once in two million times.
const TENANT_CHARS: usize = 12;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of the MAC: 80 bits, which nobody guesses by mail.
const MAC_CHARS: usize = 16;

/// The key that tokens are signed with, made when it is asked for the first time.
pub async fn key(ambient: &Ambient, stores: &Stores) -> Result<[u8; 32], StoreError> {
    let mut fresh = [0; 32];
    fresh[..16].copy_from_slice(&ambient.chance.octets());
    fresh[16..].copy_from_slice(&ambient.chance.octets());
    stores.controls.secret("return-path", fresh).await
}

/// MAIL FROM for a row: its token at `domain`, or the reverse-path as given where there is no domain of ours.
pub fn mail_from(row: &Row, domain: Option<&Domain>, key: &[u8; 32]) -> ReversePath {
    match (&row.facts.reverse_path, domain) {
        (ReversePath::Null, _) => ReversePath::Null,
        (given, None) => given.clone(),
        (given, Some(domain)) => {
            let text = format!("{PREFIX}{}@{domain}", token(row, key));
            Address::parse(&text).map_or_else(|_| given.clone(), ReversePath::Address)
        }
    }
}

/// A short name of a tenant, as tokens carry it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantTag(String);

impl TenantTag {
    /// The tag of a tenant.
    pub fn of(tenant: &Tenant) -> Self {
        let digest = Sha256::digest(tenant.as_str().as_bytes());
        Self(in_base32(&digest[..TENANT_CHARS]))
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What divides an envelope id.
const DIVIDED_BY: char = '/';

/// What the sandbox is told of a delivery beside its envelope: the message, and the token by which a report of the
/// sandbox's finds it, whether there is a return path or not.
pub fn envelope_id(row: &Row, key: &[u8; 32]) -> String {
    format!("{}{DIVIDED_BY}{}", row.key.message, token(row, key))
}

/// The message and the token in an envelope id.
pub fn read_envelope_id(id: &str) -> Option<(MessageId, &str)> {
    let (message, token) = id.split_once(DIVIDED_BY)?;
    Some((MessageId::parse(message)?, token))
}

/// What a token of ours says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub tenant: TenantTag,
    /// The row that was sent.
    pub key: PartKey,
    /// Whether the row has one recipient; otherwise the report has to name the one it is about.
    pub alone: bool,
}

/// The row whose token an address is, by any of the keys; nothing for addresses that we did not make. Whoever knows a
/// token got the message, or a report about it: what it says is still only about that row.
pub fn read(address: &Address, keys: &[[u8; 32]]) -> Option<Found> {
    let local = address.local().to_ascii_lowercase();
    read_token(local.strip_prefix(PREFIX)?, keys)
}

/// The same of a token alone, as the sandbox gets it.
pub fn read_token(token: &str, keys: &[[u8; 32]]) -> Option<Found> {
    let has_form = token.len() == MESSAGE_CHARS + PLACE_CHARS + TENANT_CHARS + MAC_CHARS
        && token.bytes().all(|octet| ALPHABET.contains(&octet));
    if !has_form {
        return None;
    }
    let (signed, given) = token.split_at(MESSAGE_CHARS + PLACE_CHARS + TENANT_CHARS);
    if !keys.iter().any(|key| is_equal(mac(signed, key).as_bytes(), given.as_bytes())) {
        return None;
    }
    let (message, rest) = signed.split_at(MESSAGE_CHARS);
    let (place, tenant) = rest.split_at(PLACE_CHARS);
    let (place, tenant) = (read_base32(place)?, TenantTag(tenant.to_owned()));
    let message = MessageId::parse(&format!("msg_{message}"))?;
    let key = PartKey { message, part: u16::try_from(place >> 1).ok()? };
    Some(Found { tenant, key, alone: place & 1 == 1 })
}

/// A recipient alone in its part has a token of its own; a group shares one.
pub fn token(row: &Row, key: &[u8; 32]) -> String {
    signed(&row.key, row.recipients.len() == 1, &TenantTag::of(&row.tenant), key)
}

fn signed(row: &PartKey, alone: bool, tenant: &TenantTag, key: &[u8; 32]) -> String {
    let place = u64::from(row.part) << 1 | u64::from(alone);
    let mut token = row.message.as_str().trim_start_matches("msg_").to_owned();
    push_base32(&mut token, place, PLACE_CHARS);
    token.push_str(tenant.as_str());
    let mac = mac(&token, key);
    token + &mac
}

fn mac(signed: &str, key: &[u8; 32]) -> String {
    // HMAC takes keys of any length: this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(b"return-path\0");
    mac.update(signed.as_bytes());
    let digest = mac.finalize().into_bytes();
    in_base32(&digest[..MAC_CHARS])
}

/// Five bits of each octet of a digest.
fn in_base32(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(ALPHABET[usize::from(octet & 31)])).collect()
}

/// Takes as long whichever octet differs: a MAC is not to be guessed octet by octet.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn push_base32(text: &mut String, value: u64, chars: usize) {
    for at in (0..chars).rev() {
        let digit = (value >> (5 * at)) & 31;
        text.push(char::from(ALPHABET[usize::try_from(digit).unwrap_or(0)]));
    }
}

fn read_base32(text: &str) -> Option<u64> {
    text.bytes().try_fold(0_u64, |value, octet| {
        let digit = ALPHABET.iter().position(|symbol| *symbol == octet)?;
        value.checked_mul(32)?.checked_add(digit as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const OLD_KEY: [u8; 32] = [8; 32];

    fn row(part: u16) -> PartKey {
        PartKey { message: MessageId::derived(&[b"a message"]), part }
    }

    fn tag() -> TenantTag {
        TenantTag::of(&Tenant::default_tenant())
    }

    fn address(token: &str) -> Address {
        Address::parse(&format!("{PREFIX}{token}@bounces.acme.example")).unwrap()
    }

    #[test]
    fn tokens_find_their_rows_in_any_case_and_by_any_key() {
        let check = |part: u16, alone: bool| {
            let expected = Some(Found { tenant: tag(), key: row(part), alone });
            let token = signed(&row(part), alone, &tag(), &OLD_KEY);
            assert!(PREFIX.len() + token.len() <= posthaste_mail::address::LOCAL_OCTETS_MAX);
            assert_eq!(read(&address(&token), &[KEY, OLD_KEY]), expected);
            assert_eq!(read(&address(&token.to_uppercase()), &[OLD_KEY]), expected);
            assert_eq!(read(&address(&token), &[KEY]), None);
            assert_eq!(read(&address(&token), &[]), None);
        };
        check(0, true);
        check(0, false);
        check(1, true);
        check(u16::MAX, false);
    }

    #[test]
    fn nothing_else_is_a_token() {
        let token = signed(&row(3), true, &tag(), &KEY);
        for at in 0..token.len() {
            for other in ["0", "7", "z"].iter().filter(|other| token[at..=at] != ***other) {
                let mut forged = token.clone();
                forged.replace_range(at..=at, other);
                assert_eq!(read(&address(&forged), &[KEY]), None, "{at}");
            }
        }
        let check = |text: &str| assert_eq!(read(&Address::parse(text).unwrap(), &[KEY]), None, "{text}");
        check("hello@acme.example");
        check("b-@acme.example");
        check(&format!("b-{}@acme.example", &token[1..]));
        check(&format!("b-{token}0@acme.example"));
        check(&format!("c-{token}@acme.example"));
    }
}
