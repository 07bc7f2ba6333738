//! Signs messages: relaxed/relaxed, the whole body, and each field that matters named once more than it is there, so that
//! nobody can add another one.

use std::sync::Arc;

use mail_auth::common::crypto::{Ed25519Key, RsaKey, Sha256, SigningKey};
use mail_auth::common::headers::{HeaderWriter, Writable};
use mail_auth::dkim::{Canonicalization, DkimSigner};
use posthaste_mail::Domain;

use crate::key::{Algorithm, PrivateKey};

/// Fields that are signed where they are there, and named even where they are not.
const OVERSIGNED: [&str; 16] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
];
/// Fields of one name that are counted: a message with more is none of ours.
const REPEATED_MAX: usize = 50;

/// Why a message is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key cannot sign.
    #[error("the key cannot sign: {0}")]
    Key(String),
    /// The message has no From: a signature would say nothing.
    #[error("the message has no From field")]
    NoFrom,
    /// Signing failed.
    #[error("the message could not be signed: {0}")]
    Failed(String),
}

/// A key ready to sign for one selector of one domain.
pub struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

/// Read once: reading an RSA key costs as much as using it.
#[derive(Clone)]
enum Key {
    Rsa(Arc<RsaKey<Sha256>>),
    Ed25519(Arc<Ed25519Key>),
}

impl SigningKey for Key {
    type Hasher = Sha256;

    fn sign(&self, input: impl Writable) -> mail_auth::Result<Vec<u8>> {
        match self {
            Self::Rsa(key) => key.sign(input),
            Self::Ed25519(key) => key.sign(input),
        }
    }

    fn algorithm(&self) -> mail_auth::common::crypto::Algorithm {
        match self {
            Self::Rsa(key) => key.algorithm(),
            Self::Ed25519(key) => key.algorithm(),
        }
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({}._domainkey.{})", self.selector, self.domain)
    }
}

impl Signer {
    /// Of a key that is published at a selector.
    pub fn new(domain: &Domain, selector: &str, key: &PrivateKey) -> Result<Self, SignError> {
        let unusable = |error: mail_auth::Error| SignError::Key(error.to_string());
        let key = match key.algorithm() {
            Algorithm::Rsa => Key::Rsa(Arc::new(RsaKey::from_key_der(key.der()).map_err(unusable)?)),
            Algorithm::Ed25519 => {
                let read = Ed25519Key::from_pkcs8_maybe_unchecked_der(key.pkcs8());
                Key::Ed25519(Arc::new(read.map_err(unusable)?))
            }
        };
        Ok(Self { domain: domain.to_string(), selector: selector.to_owned(), key })
    }

    /// The header field that signs a message (its lines end with CRLF), ended by CRLF itself, to be put before it. An RSA
    /// key takes about a millisecond: not on a reactor.
    pub fn sign(&self, message: &[u8]) -> Result<String, SignError> {
        let named = named(message)?;
        let signature = DkimSigner::from_key(self.key.clone())
            .domain(self.domain.as_str())
            .selector(self.selector.as_str())
            .headers(named)
            .header_canonicalization(Canonicalization::Relaxed)
            .body_canonicalization(Canonicalization::Relaxed)
            .sign(message);
        Ok(signature.map_err(|error| SignError::Failed(error.to_string()))?.to_header())
    }
}

/// The names of `h=`: each field as often as it is there, and once more.
fn named(message: &[u8]) -> Result<Vec<&'static str>, SignError> {
    let mut counts = [0_usize; OVERSIGNED.len()];
    for line in message.split(|octet| *octet == b'\n') {
        if matches!(line, b"" | b"\r") {
            break;
        }
        let name = line.split(|octet| *octet == b':').next().unwrap_or_default().trim_ascii_end();
        if let Some(at) = OVERSIGNED.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
            counts[at] = (counts[at] + 1).min(REPEATED_MAX);
        }
    }
    if counts[0] == 0 {
        return Err(SignError::NoFrom);
    }
    let repeated = OVERSIGNED.iter().zip(counts);
    Ok(repeated.flat_map(|(name, count)| std::iter::repeat_n(*name, count + 1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] =
        b"From: a@acme.example\r\nTo: b@b.example\r\nSubject: hello\r\n world\r\n\r\nbody\r\n";

    #[test]
    fn what_matters_is_named_once_more_than_it_is_there() {
        let domain = Domain::parse("acme.example").unwrap();
        for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
            let signer = Signer::new(&domain, "s1", &PrivateKey::make(algorithm).unwrap()).unwrap();
            let header = signer.sign(MESSAGE).unwrap();
            assert!(header.starts_with("DKIM-Signature:") && header.ends_with("\r\n"), "{header:?}");
            let flat: String = header.split_whitespace().collect();
            assert!(flat.contains("d=acme.example;") && flat.contains("s=s1;"), "{flat}");
            assert!(flat.contains("c=relaxed/relaxed") && !flat.contains("l="), "{flat}");
            let names = flat.split(";h=").nth(1).unwrap().split(';').next().unwrap().to_lowercase();
            let count = |name: &str| names.split(':').filter(|n| *n == name).count();
            assert_eq!(
                (count("from"), count("subject"), count("cc"), count("list-unsubscribe")),
                (2, 2, 1, 1),
                "{names}"
            );
        }
        let signer = Signer::new(&domain, "s1", &PrivateKey::make(Algorithm::Ed25519).unwrap()).unwrap();
        assert_eq!(signer.sign(b"To: b@b.example\r\n\r\n"), Err(SignError::NoFrom));
    }
}
