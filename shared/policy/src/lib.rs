//! What is decided: the policy file, what refusals mean, when to try again, how fast, under which name a receiver is
//! known. All of it is data and pure functions.
//!
//! This crate never touches a clock, a network, a store or a random source, and knows no tokio. Time, age and jitter
//! are arguments; answers are values. Given the same policy and the same facts it decides the same, on one machine,
//! in a function, and in a simulation.

pub mod builtin;
mod check;
pub mod classify;
pub mod explain;
pub mod file;
pub mod limits;
mod names;
pub mod pacing;
pub mod quota;
pub mod rate;
pub mod read;
pub mod relay;
pub mod retry;
mod section;
pub mod shaping;
pub mod site;
pub mod span;
pub mod standing;
pub mod suppression;
pub mod tls;
pub mod trouble;
mod values;
pub mod verdict;

pub use classify::{Classifier, Observed, wait_named};
pub use explain::Explained;
pub use file::{Egress, EgressName, OnMissing, Policy, Smarthost};
pub use limits::{Given, Limits, Place};
pub use quota::{Quota, QuotaLimits};
pub use rate::Rate;
pub use retry::{Age, Next, RetryPolicy};
pub use section::Problem;
pub use site::{Hosts, SiteName, site_of};
pub use suppression::{History, SuppressionPolicy};
pub use tls::TlsMode;
pub use trouble::{Trouble, as_reply, verdict_of};
pub use verdict::{Action, Category, RuleName, Scope, Suppress, Verdict};
