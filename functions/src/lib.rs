//! The use cases of the pipeline as functions of AWS Lambda.
//!
//! What is absent: no decision about mail (it is the pipeline's), no state beyond what makes the next invocation
//! faster, no connection that outlasts an invocation: between two of them the environment is frozen, and whoever is at
//! the other end would wait for nothing. So there is nothing to be done at a shutdown either.
//!
//! - A record is acknowledged when what follows from it is durable, and given back otherwise; the answer names each.
//! - An outage of a store is never a reason to put a record aside: it comes again after a pause.
//! - What cannot be done is put aside by us, with its reason; a queue's own redrive is the net beneath.
//!
//! Each function is a `main.rs` of its own that names what is here; [`environment`] is what they have in common.

pub mod admin;
mod aside;
pub mod clock;
pub mod deliver;
pub mod environment;
pub mod feedback;
pub mod http;
pub mod intake;
pub mod invocation;
mod kept_mail;
pub mod log;
pub mod monitor;
mod notified;
mod object;
pub mod policy;
mod sandbox;
pub mod settings;

pub use lambda_runtime::{Error, LambdaEvent, run, service_fn};
