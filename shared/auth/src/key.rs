//! DKIM key pairs: RSA of 2048 bits, which everybody verifies, and Ed25519 (RFC 8463), which few do yet and costs next to
//! nothing beside it.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

/// Least and greatest bits of an RSA key that is imported: less is refused by large receivers (RFC 8301 3.2), more does
/// not fit into answers that everybody can read.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=4_096;

/// The algorithms of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// `rsa-sha256`.
    Rsa,
    /// `ed25519-sha256`.
    Ed25519,
}

impl Algorithm {
    /// As `k=` of a key's record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is no private key.
    #[error(
        "no private key in PEM: expected `-----BEGIN PRIVATE KEY-----` or `-----BEGIN RSA PRIVATE KEY-----`"
    )]
    NoKey,
    /// It is one that cannot be used.
    #[error("the key is neither RSA of 2048 to 4096 bits nor Ed25519")]
    Unusable,
    /// None could be made.
    #[error("a key could not be made")]
    Unmade,
}

/// A private key. Its octets are PKCS#8.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    algorithm: Algorithm,
    pkcs8: Vec<u8>,
    public: PublicKey,
}

/// What may be shown of a key: `p=` of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// In base 64: the whole SubjectPublicKeyInfo of an RSA key (RFC 6376 3.6.1), the bare 32 octets of an Ed25519 one.
    pub base64: String,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// Makes one. An RSA key takes a tenth of a second or more: not on a reactor.
    pub fn make(algorithm: Algorithm) -> Result<Self, KeyError> {
        let pkcs8 = match algorithm {
            Algorithm::Rsa => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Unmade)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Unmade)?;
                der.as_ref().to_vec()
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Unmade)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Unmade)?;
                der.as_ref().to_vec()
            }
        };
        Self::from_pkcs8(pkcs8)
    }

    /// Reads what [`PrivateKey::pkcs8`] gave.
    pub fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self, KeyError> {
        if let Ok(pair) = RsaKeyPair::from_pkcs8(&pkcs8) {
            let der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| KeyError::Unusable)?;
            if !RSA_BITS.contains(&(pair.public_modulus_len() * 8)) {
                return Err(KeyError::Unusable);
            }
            let public =
                PublicKey { algorithm: Algorithm::Rsa, base64: BASE64_STANDARD.encode(der.as_ref()) };
            return Ok(Self { algorithm: Algorithm::Rsa, pkcs8, public });
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map_err(|_| KeyError::Unusable)?;
        let base64 = BASE64_STANDARD.encode(pair.public_key().as_ref());
        let public = PublicKey { algorithm: Algorithm::Ed25519, base64 };
        Ok(Self { algorithm: Algorithm::Ed25519, pkcs8, public })
    }

    /// Reads a key in PEM: PKCS#8, or PKCS#1 for RSA.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        match PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| KeyError::NoKey)? {
            PrivateKeyDer::Pkcs8(der) => Self::from_pkcs8(der.secret_pkcs8_der().to_vec()),
            PrivateKeyDer::Pkcs1(der) => {
                let pair = RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(|_| KeyError::Unusable)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Unusable)?;
                Self::from_pkcs8(der.as_ref().to_vec())
            }
            _ => Err(KeyError::Unusable),
        }
    }

    /// Its octets, to be sealed.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// In PEM, for whoever keeps keys as files.
    pub fn to_pem(&self) -> String {
        let text = BASE64_STANDARD.encode(&self.pkcs8);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }

    /// What may be shown.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn der(&self) -> PrivateKeyDer<'_> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_from_octets_and_pem() {
        for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
            let key = PrivateKey::make(algorithm).unwrap();
            assert_eq!(key.public().algorithm, algorithm);
            assert_eq!(PrivateKey::from_pkcs8(key.pkcs8().to_vec()).as_ref(), Ok(&key));
            assert_eq!(PrivateKey::from_pem(&key.to_pem()).as_ref(), Ok(&key));
            let shown = format!("{key:?}");
            let secret = BASE64_STANDARD.encode(key.pkcs8());
            assert!(!shown.contains(&secret[24..60]), "a private key is shown: {shown}");
        }
        assert_eq!(PrivateKey::from_pem("-----BEGIN CERTIFICATE-----\n"), Err(KeyError::NoKey));
        assert_eq!(PrivateKey::from_pem(""), Err(KeyError::NoKey));
        assert_eq!(PrivateKey::from_pkcs8(vec![0; 40]), Err(KeyError::Unusable));
    }
}
