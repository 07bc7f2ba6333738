//! Domain names as mail needs them: ASCII A-labels, lower case, no trailing dot (RFC 5321 2.3.5, RFC 5890).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest domain name in octets (RFC 5321 4.5.3.1.2 allows 255 with the root; 253 without).
pub const DOMAIN_OCTETS_MAX: usize = 253;
/// Longest label in octets (RFC 1035 2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;

/// A domain name: lower-case A-labels, at least one label, no trailing dot. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Arc<str>);

/// Why a text is no domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing there.
    #[error("the domain is empty")]
    Empty,
    /// Over 253 octets as A-labels.
    #[error("the domain is longer than {DOMAIN_OCTETS_MAX} octets")]
    TooLong,
    /// `user@[192.0.2.1]`: not a name; mail to bare addresses is not relayed.
    #[error("address literals are not accepted: use a domain name")]
    AddressLiteral,
    /// A label is empty, too long, or has characters that no host name has.
    #[error("`{0}` is not a domain name: labels are 1 to 63 letters, digits and inner hyphens")]
    BadLabel(String),
}

impl Domain {
    /// Reads a domain name, Unicode or ASCII; Unicode becomes A-labels (UTS 46).
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        if text.is_empty() {
            return Err(DomainError::Empty);
        }
        if text.starts_with('[') {
            return Err(DomainError::AddressLiteral);
        }
        let bad = || DomainError::BadLabel(text.chars().take(80).collect());
        if text.len() > 4 * DOMAIN_OCTETS_MAX {
            return Err(DomainError::TooLong);
        }
        let ascii = if text.is_ascii() && !text.to_ascii_lowercase().split('.').any(|l| l.starts_with("xn--"))
        {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::STD3)
                .map_err(|_| bad())?
                .into_owned()
        };
        if ascii.len() > DOMAIN_OCTETS_MAX {
            return Err(DomainError::TooLong);
        }
        if !ascii.split('.').all(is_label) {
            return Err(bad());
        }
        // `user@127.0.0.1` is an address literal that lost its brackets: no top-level domain is all digits.
        if ascii.rsplit('.').next().is_some_and(|tld| tld.bytes().all(|b| b.is_ascii_digit())) {
            return Err(DomainError::AddressLiteral);
        }
        Ok(Self(ascii.into()))
    }

    /// The name as it goes on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `suffix` or below it: `mx.google.com` is under `google.com` and `.google.com`, `agoogle.com` is not.
    pub fn is_under(&self, suffix: &str) -> bool {
        let suffix = suffix.strip_prefix('.').unwrap_or(suffix);
        self.0.strip_suffix(suffix).is_some_and(|head| head.is_empty() || head.ends_with('.'))
    }
}

/// Underscores are refused in host names but stand in real MX names and test zones; DNS itself has no objection.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_OCTETS_MAX
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for Domain {
    type Error = DomainError;
    fn try_from(text: String) -> Result<Self, DomainError> {
        Self::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_read_strictly() {
        let check = |text: &str, expected: Result<&str, ()>| {
            let got = Domain::parse(text);
            assert_eq!(got.as_ref().map(Domain::as_str).map_err(|_| ()), expected, "{text}: {got:?}");
        };
        check("Example.NET", Ok("example.net"));
        check("bücher.example", Ok("xn--bcher-kva.example"));
        check("xn--bcher-kva.example", Ok("xn--bcher-kva.example"));
        check("localhost", Ok("localhost"));
        check("_spf.example", Ok("_spf.example"));
        check("", Err(()));
        check("example.net.", Err(()));
        check(".example", Err(()));
        check("a..b", Err(()));
        check("-a.example", Err(()));
        check("a b.example", Err(()));
        check("exa\r\nmple.net", Err(()));
        check("[192.0.2.1]", Err(()));
        check("192.0.2.1", Err(()));
        check(&"a".repeat(64), Err(()));
        check(&"a.".repeat(127), Err(()));
        check("xn--a", Err(()));
    }

    #[test]
    fn suffixes_match_whole_labels() {
        let check = |name: &str, suffix: &str, expected: bool| {
            assert_eq!(Domain::parse(name).unwrap().is_under(suffix), expected, "{name} under {suffix}");
        };
        check("mx.google.com", ".google.com", true);
        check("google.com", ".google.com", true);
        check("agoogle.com", ".google.com", false);
        check("google.com.example", "google.com", false);
    }
}
