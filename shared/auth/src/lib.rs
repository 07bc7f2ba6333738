//! Who a message says it is from, shown to whoever gets it: DKIM keys and signatures (RFC 6376, RFC 8463), alignment (RFC
//! 9989), and audits of what a domain publishes about it.
//!
//! What is absent: no store, no policy, no HTTP; names are looked up only through [`Dns`], which somebody else brings.
//! Private keys are shown to nobody: they leave as octets to be sealed, and no `Debug` prints them.

pub mod align;
pub mod audit;
pub mod dns;
pub mod drift;
pub mod key;
pub mod record;
pub mod reports;
pub mod resolver;
pub mod sign;
pub mod spf;

pub use dns::{Answer, Dns};
pub use key::{Algorithm, KeyError, PrivateKey, PublicKey};
pub use sign::{SignError, Signer};
