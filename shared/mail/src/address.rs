//! Envelope addresses (RFC 5321 4.1.2, RFC 6531) and header mailboxes (RFC 5322 3.4), read strictly.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{Domain, DomainError};

/// Longest local part in octets (RFC 5321 4.5.3.1.1).
pub const LOCAL_OCTETS_MAX: usize = 64;
/// Longest path in octets without its angle brackets (RFC 5321 4.5.3.1.3).
pub const PATH_OCTETS_MAX: usize = 254;

/// One mailbox on the wire: a local part as it was written and a domain of A-labels. Cheap to clone.
///
/// Two addresses are equal when their local parts are equal octet for octet once needless quotes are gone:
/// only the receiver may say more (RFC 5321 2.4).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// Without quotes and backslashes.
    local: Arc<str>,
    domain: Domain,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@`, or nothing before it.
    #[error("`{0}` is not an address: expected local-part@domain")]
    Malformed(String),
    /// `<@relay.example:user@example.net>` (RFC 5321 appendix C).
    #[error("source routes are not accepted: give the address alone")]
    SourceRoute,
    /// Characters that need quotes, or that nothing may hold: controls, CR, LF, NUL.
    #[error("the local part of `{0}` has characters that are not allowed there")]
    BadLocalPart(String),
    /// Over 64 octets before the `@` or 254 in all.
    #[error(
        "the address is too long: at most {LOCAL_OCTETS_MAX} octets before the @ and {PATH_OCTETS_MAX} in all"
    )]
    TooLong,
    /// What is wrong with the part after the `@`.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl Address {
    /// Reads `local@domain` without angle brackets, display name or comments.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let shown = || text.chars().filter(|c| !c.is_control()).take(80).collect::<String>();
        if text.len() > 4 * PATH_OCTETS_MAX {
            return Err(AddressError::TooLong);
        }
        if text.starts_with('@') && text.contains(':') {
            return Err(AddressError::SourceRoute);
        }
        let (local, domain) = if let Some(rest) = text.strip_prefix('"') {
            let (local, after) = unquote(rest).ok_or_else(|| AddressError::BadLocalPart(shown()))?;
            let domain = after.strip_prefix('@').ok_or_else(|| AddressError::Malformed(shown()))?;
            (local, domain)
        } else {
            let (local, domain) = text.split_once('@').ok_or_else(|| AddressError::Malformed(shown()))?;
            if local.is_empty() {
                return Err(AddressError::Malformed(shown()));
            }
            if !is_dot_string(local) {
                return Err(AddressError::BadLocalPart(shown()));
            }
            (local.to_owned(), domain)
        };
        let address = Self { local: local.into(), domain: Domain::parse(domain)? };
        let local_octets = address.local_on_wire().len();
        if local_octets > LOCAL_OCTETS_MAX
            || local_octets + 1 + address.domain.as_str().len() > PATH_OCTETS_MAX
        {
            return Err(AddressError::TooLong);
        }
        Ok(address)
    }

    /// The local part without quotes.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether only a receiver with SMTPUTF8 can take it (RFC 6531).
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }

    /// The key under which a suppression of this mailbox is kept: hardly any receiver tells cases apart, and a
    /// list that did would let a complaint be dodged by a capital letter.
    pub fn folded(&self) -> String {
        self.to_string().to_lowercase()
    }

    fn local_on_wire(&self) -> std::borrow::Cow<'_, str> {
        if is_dot_string(&self.local) {
            return (&*self.local).into();
        }
        let mut quoted = String::with_capacity(self.local.len() + 2);
        quoted.push('"');
        for c in self.local.chars() {
            if matches!(c, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted.push('"');
        quoted.into()
    }
}

/// Reads a Quoted-string after its opening quote: its value and what follows the closing one.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => {
                let (_, escaped) = chars.next()?;
                if !(' '..='~').contains(&escaped) {
                    return None;
                }
                value.push(escaped);
            }
            c if c.is_control() => return None,
            c => value.push(c),
        }
    }
    None
}

/// Dot-string of RFC 5321 4.1.2 with the UTF-8 of RFC 6531 3.3.
fn is_dot_string(local: &str) -> bool {
    !local.is_empty() && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local_on_wire(), self.domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// MAIL FROM: an address, or the null path of notices that nothing must answer (RFC 5321 4.5.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ReversePath {
    /// `<>`.
    Null,
    /// `<local@domain>`.
    Address(Address),
}

impl ReversePath {
    /// Reads an address, or the null path written as nothing or `<>`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() || text == "<>" { Ok(Self::Null) } else { Address::parse(text).map(Self::Address) }
    }

    /// The address, if there is one.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Address(address) => Some(address),
        }
    }
}

impl fmt::Display for ReversePath {
    /// Without angle brackets; the null path is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().map_or(Ok(()), |address| address.fmt(f))
    }
}

impl TryFrom<String> for ReversePath {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<ReversePath> for String {
    fn from(path: ReversePath) -> Self {
        path.to_string()
    }
}

/// A mailbox of a header: an address, perhaps with a name before it (RFC 5322 3.4, without comments and groups).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name, unquoted; Unicode as it was given.
    pub name: Option<String>,
    /// The address.
    pub address: Address,
}

impl Mailbox {
    /// Reads `Name <local@domain>`, `"Name, quoted" <…>`, `<…>` or a bare address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim_matches([' ', '\t']);
        let malformed =
            || AddressError::Malformed(text.chars().filter(|c| !c.is_control()).take(80).collect());
        if text.chars().any(char::is_control) {
            return Err(malformed());
        }
        let Some(inner) = text.strip_suffix('>') else {
            return Ok(Self { name: None, address: Address::parse(text)? });
        };
        let (name, address) = match inner.strip_prefix('"').and_then(unquote) {
            Some((name, after)) => {
                let address =
                    after.trim_start_matches([' ', '\t']).strip_prefix('<').ok_or_else(malformed)?;
                (name, address)
            }
            None => {
                let (name, address) = inner.split_once('<').ok_or_else(malformed)?;
                if name.contains(['"', '>', ',', ';']) {
                    return Err(malformed());
                }
                (name.trim_matches([' ', '\t']).to_owned(), address)
            }
        };
        Ok(Self { name: Some(name).filter(|n| !n.is_empty()), address: Address::parse(address)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly_and_written_back() {
        let check = |text: &str, expected: Option<&str>| {
            let got = Address::parse(text);
            assert_eq!(got.as_ref().ok().map(ToString::to_string).as_deref(), expected, "{text}: {got:?}");
        };
        check("ann@Example.net", Some("ann@example.net"));
        check("Ann.Lee+tag@example.net", Some("Ann.Lee+tag@example.net"));
        check("\"ann lee\"@example.net", Some("\"ann lee\"@example.net"));
        check("\"ann\"@example.net", Some("ann@example.net"));
        check("\"a\\\"b@c\"@example.net", Some("\"a\\\"b@c\"@example.net"));
        check("\"\"@example.net", Some("\"\"@example.net"));
        check("ann@bücher.example", Some("ann@xn--bcher-kva.example"));
        check("żółw@example.net", Some("żółw@example.net"));
        check("ann", None);
        check("@example.net", None);
        check("ann@", None);
        check("a@b@example.net", None);
        check(".ann@example.net", None);
        check("ann..lee@example.net", None);
        check("ann lee@example.net", None);
        check("<ann@example.net>", None);
        check("ann@example.net\r\nRCPT TO:<x@y.example>", None);
        check("ann\r\n@example.net", None);
        check("\"ann\r\n\"@example.net", None);
        check("ann@[192.0.2.1]", None);
        check("@relay.example:ann@example.net", None);
        check(&format!("{}@example.net", "a".repeat(64)), Some(&format!("{}@example.net", "a".repeat(64))));
        check(&format!("{}@example.net", "a".repeat(65)), None);
        check(&format!("{}@{}example.net", "a".repeat(60), "abcdefg.".repeat(24)), None);
    }

    #[test]
    fn mailboxes_have_names() {
        let check = |text: &str, expected: Option<(Option<&str>, &str)>| {
            let got = Mailbox::parse(text).ok().map(|m| (m.name, m.address.to_string()));
            assert_eq!(got, expected.map(|(n, a)| (n.map(str::to_owned), a.to_owned())), "{text}");
        };
        check("Acme <hello@acme.example>", Some((Some("Acme"), "hello@acme.example")));
        check("\"Acme, Inc.\" <hello@acme.example>", Some((Some("Acme, Inc."), "hello@acme.example")));
        check("<hello@acme.example>", Some((None, "hello@acme.example")));
        check("hello@acme.example", Some((None, "hello@acme.example")));
        check("Acme <hello@acme.example", None);
        check("a@b.example, c@d.example", None);
        check("x <a@b.example>, y <c@d.example>", None);
        check("Acme\r\nBcc: x@y.example <hello@acme.example>", None);
        check("Group: a@b.example;", None);
    }
}
