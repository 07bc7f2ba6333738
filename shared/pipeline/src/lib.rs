//! The use cases of delivery and the small traits they need: accept, deliver, cancel, retry, look.
//!
//! No AWS and no SQL here, and no HTTP. Decisions are pure ([`machine`]); stores keep what they are given
//! ([`stores`]); the clock, randomness and the network come in as traits.

pub mod access;
pub mod ambient;
pub mod clock;
pub mod control;
pub mod deliver;
pub mod effect;
pub mod feedback;
pub mod holds;
pub mod identity;
pub mod intake;
pub mod machine;
pub mod meter;
pub mod pacer;
pub mod row;
pub mod seal;
pub mod spool;
pub mod stores;
pub mod unsubscribe;
pub mod upload;
pub mod view;
