//! Identifiers. All are opaque ASCII; what can come twice has an id derived from its source.

use std::fmt;
use std::sync::Arc;

use data_encoding::Encoding;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Lower-case base 32 without letters that look like digits (Crockford), 5 bits a character.
pub(crate) fn base32() -> Encoding {
    static ENCODING: std::sync::OnceLock<Encoding> = std::sync::OnceLock::new();
    ENCODING
        .get_or_init(|| {
            let mut spec = data_encoding::Specification::new();
            spec.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
            // A valid alphabet of 32 distinct symbols: `encoding` cannot refuse it.
            spec.encoding().unwrap_or(data_encoding::BASE32HEX_NOPAD)
        })
        .clone()
}

/// Who sends: every key of every store begins with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// Longest tenant name in octets.
    pub const OCTETS_MAX: usize = 64;

    /// The only tenant of a machine without keys.
    pub fn default_tenant() -> Self {
        Self("default".into())
    }

    /// Reads a tenant's name: 1 to 64 of `a-z`, `0-9`, `-`, `_`.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::OCTETS_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        fits.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// From 16 random octets.
            pub fn from_random(octets: [u8; 16]) -> Self {
                Self(format!(concat!($prefix, "{}"), base32().encode(&octets)).into())
            }

            /// From what it stands for: the same parts give the same id, and no other parts do.
            pub fn derived(parts: &[&[u8]]) -> Self {
                let mut hash = Sha256::new();
                for part in parts {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
                let mut octets = [0; 16];
                octets.copy_from_slice(&hash.finalize()[..16]);
                Self::from_random(octets)
            }

            /// Reads an id of this kind; only its form is checked.
            pub fn parse(text: &str) -> Option<Self> {
                let rest = text.strip_prefix($prefix)?;
                let fits = rest.len() == 26 && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                fits.then(|| Self(text.into()))
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

opaque_id!(
    /// One accepted submission, `msg_` and 26 characters.
    MessageId,
    "msg_"
);
opaque_id!(
    /// One job; fresh for each successor, kept by copies.
    JobId,
    "job_"
);
opaque_id!(
    /// One event; derived, so that a replay repeats it.
    EventId,
    "evt_"
);

opaque_id!(
    /// The public half of an API key, 26 characters; lists and logs name a key by it.
    KeyId,
    ""
);
opaque_id!(
    /// One body that is uploaded apart from its submission, `upl_` and 26 characters.
    UploadId,
    "upl_"
);

/// One row of the ledger: a message and the number of its part. Part 0 is the head, or the only part.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartKey {
    /// The submission.
    pub message: MessageId,
    /// 0, or 1 and up for the parts of a submission to several domains.
    pub part: u16,
}

impl fmt::Display for PartKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.message, self.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_a_form_and_derived_ones_repeat() {
        let id = MessageId::derived(&[b"a", b"bc"]);
        assert_eq!(id, MessageId::derived(&[b"a", b"bc"]));
        assert_ne!(id, MessageId::derived(&[b"ab", b"c"]));
        assert_eq!(MessageId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(MessageId::parse("msg_short"), None);
        assert_eq!(MessageId::parse(&id.as_str().replace("msg_", "job_")), None);
    }
}
