//! The nouns of mail: domains, addresses, identifiers, lanes, replies and the message itself.
//!
//! This crate never touches a clock, a network, a store or a random source: time and randomness come in as
//! values. Everything that is parsed here is parsed once, at the edge; the types carry the proof onward.

pub mod address;
pub mod api_key;
pub mod domain;
pub mod id;
pub mod lane;
pub mod message;
pub mod reply;
pub mod time;

pub use address::{Address, AddressError, Mailbox, ReversePath};
pub use api_key::ApiKey;
pub use domain::{Domain, DomainError};
pub use id::{EventId, JobId, KeyId, MessageId, PartKey, Tenant, UploadId};
pub use lane::Lane;
pub use reply::{Enhanced, Reply, Stage};
pub use time::Timestamp;
