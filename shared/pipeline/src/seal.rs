//! Octets that only we can read: AES-256-GCM under a nonce that depends on all that is sealed, so that the same text is the
//! same sealed text, and no nonce is used for two.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Seals octets for one purpose: they open under the same words only.
pub fn seal(key: &[u8; 32], purpose: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(b"nonce\0");
    mac.update(&(purpose.len() as u64).to_be_bytes());
    mac.update(purpose);
    mac.update(plain);
    let digest = mac.finalize().into_bytes();
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&digest[..NONCE_LEN]);
    let by = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let mut sealed = plain.to_vec();
    by.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut sealed).ok()?;
    Some([&nonce[..], &sealed].concat())
}

/// What was sealed; nothing where it was not, or for something else.
pub fn open(key: &[u8; 32], purpose: &[u8], octets: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = octets.split_at_checked(NONCE_LEN)?;
    let by = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut sealed = sealed.to_vec();
    by.open_in_place(nonce, Aad::from(purpose), &mut sealed).ok().map(|opened| opened.to_vec())
}
