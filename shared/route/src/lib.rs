//! Where mail for a domain goes: MX hosts by preference, their addresses, and which of them may be connected to.
//!
//! This crate opens no SMTP connection and decides no delivery: it answers with hosts, addresses or a
//! [`RouteError`] that says who failed, and policy decides what that means. It reads no policy file, no
//! `/etc/hosts` and no search list. Randomness is a seed that is passed in; the only clock is tokio's, for
//! time-outs and the age of cache entries; skip times take the time as an argument.
//!
//! Everything DNS says is hostile: records, hosts, addresses and cache entries are all bounded, and no address
//! leaves here that the [`guard`] has not let through.

mod cache;
mod candidates;
mod error;
pub mod guard;
mod mx;
mod resolver;
mod skip;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod zone;

pub use candidates::{ADDRESSES_MAX, Candidate};
pub use error::RouteError;
pub use guard::{AllowPrivate, Forbidden};
pub use mx::{MX_HOSTS_MAX, MailHosts, MxHost, Source};
pub use resolver::{Config, Families, NoNameServers, Resolver, name_servers};
pub use skip::{Ordered, SKIPS_MAX, Skip, Skips};
