//! The text of an API key, `ph_<id>_<secret>`: an id that may be shown, and a secret that is shown once.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::id::{KeyId, base32};

/// What every key begins with, so that scanners of leaked secrets can know one.
const PREFIX: &str = "ph_";

/// Octets of the secret: 256 random bits.
pub const SECRET_OCTETS: usize = 32;

/// An API key as its holder has it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    id: KeyId,
    secret: [u8; SECRET_OCTETS],
}

impl ApiKey {
    /// A new one from octets nobody can guess.
    pub fn from_random(id: KeyId, secret: [u8; SECRET_OCTETS]) -> Self {
        Self { id, secret }
    }

    /// Reads what a caller sent; only its form is checked.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let octets = base32().decode(secret.as_bytes()).ok()?;
        Some(Self { id: KeyId::parse(id)?, secret: octets.try_into().ok()? })
    }

    /// Its public half.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// What is stored in place of the secret. One round of SHA-256 is enough: stretching and salt slow down the
    /// guessing of what people choose, and 256 random bits are not guessed however fast one tries.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// The whole key in clear, to be shown to its holder once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, base32().encode(&self.secret))
    }
}

impl fmt::Debug for ApiKey {
    /// Without the secret: what is printed ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_as_it_was_shown() {
        let key = ApiKey::from_random(KeyId::from_random([7; 16]), [9; SECRET_OCTETS]);
        let shown = key.reveal();
        assert_eq!(ApiKey::parse(&shown), Some(key.clone()));
        assert!(!format!("{key:?}").contains(shown.rsplit('_').next().unwrap()));
        let check = |text: &str| assert_eq!(ApiKey::parse(text), None, "{text}");
        check("");
        check("ph_");
        check(&shown[3..]);
        check(&shown[..shown.len() - 1]);
        check(&format!("{shown}0"));
        check(&shown.to_uppercase());
        check(&shown.replace("ph_", "pk_"));
        check(&format!("ph_short_{}", "0".repeat(52)));
    }

    #[test]
    fn keys_with_other_secrets_have_other_hashes() {
        let of = |octet| ApiKey::from_random(KeyId::from_random([7; 16]), [octet; SECRET_OCTETS]).hash();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
