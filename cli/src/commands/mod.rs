//! The commands, one file each.

mod api_key;
mod cancel;
mod classify;
mod demo;
mod dev;
mod dlq;
mod doctor;
mod hold;
mod identity;
mod keys;
mod parse_report;
pub(crate) mod policy;
mod queue;
mod retry;
mod select;
mod send;
mod simulate;
mod site;
mod suppress;
mod tail;
mod trace;

use std::future::Future;

use crate::failure::{Failure, Outcome};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// The whole pipeline on this machine in one go
    Demo(demo::Args),
    /// The local stack, until Ctrl-C
    Dev(dev::Args),
    /// Submit one message
    Send(send::Args),
    /// The timeline of one message: every attempt, the reply, the verdict, the next try
    Trace(trace::Args),
    /// Events as they happen
    Tail(tail::Args),
    /// What waits, by site and domain, and why
    Queue(queue::Args),
    /// What a receiver is allowed now, and which reply made it so
    Site(site::Args),
    /// Recall what is not yet delivered
    Cancel(cancel::Args),
    /// Hold what was accepted until now, or recall it
    Hold(hold::Args),
    /// Try again now
    Retry(retry::Args),
    /// The suppression list
    Suppress(suppress::Args),
    /// Sender domains, their DKIM keys and the DNS records to publish
    Identity(identity::Args),
    /// Audit sender domains: what is wrong, and the DNS record that mends it
    Doctor(doctor::Args),
    /// A bare DKIM key pair
    Keys(keys::Args),
    /// Who may ask the API
    ApiKey(api_key::Args),
    /// Jobs that were put aside, and the way back
    Dlq(dlq::Args),
    /// Check a policy file, or ask what it means for a domain
    Policy(policy::Args),
    /// What a policy would do with a day's mail, on a virtual clock
    Simulate(simulate::Args),
    /// Verdicts of SMTP replies, read from stdin one a line
    Classify(classify::Args),
    /// What inbound reports say: bounces, complaints, DMARC aggregates, TLS reports
    ParseReport(parse_report::Args),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::Demo(args) => demo::run(args),
            Self::Dev(args) => dev::run(args),
            Self::Send(args) => wait_for(send::run(args)),
            Self::Trace(args) => wait_for(trace::run(args)),
            Self::Tail(args) => wait_for(tail::run(args)),
            Self::Queue(args) => wait_for(queue::run(args)),
            Self::Site(args) => wait_for(site::run(args)),
            Self::Cancel(args) => wait_for(cancel::run(args)),
            Self::Hold(args) => wait_for(hold::run(args)),
            Self::Retry(args) => wait_for(retry::run(args)),
            Self::Suppress(args) => wait_for(suppress::run(args)),
            Self::Identity(args) => wait_for(identity::run(args)),
            Self::Doctor(args) => wait_for(doctor::run(args)),
            Self::Keys(args) => keys::run(args),
            Self::ApiKey(args) => wait_for(api_key::run(args)),
            Self::Dlq(args) => wait_for(dlq::run(args)),
            Self::Policy(args) => policy::run(args),
            Self::Simulate(args) => simulate::run(args),
            Self::Classify(args) => classify::run(args),
            Self::ParseReport(args) => parse_report::run(args),
        }
    }
}

/// Where the local host runs: a worker for each core.
fn host_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    /// Threads for what blocks: more than the store has reading connections, and room to build large letters beside
    /// them. Each keeps memory of its own for good, and tokio's own bound is 512.
    const BLOCKING_THREADS: usize = 6;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.max_blocking_threads(BLOCKING_THREADS).enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))
}

/// Runs a client's one task: a thread is enough for it.
fn wait_for(task: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))?.block_on(task)
}

/// A domain as people write it: with a dot at its end, too.
fn domain(text: &str) -> Result<posthaste_mail::Domain, String> {
    posthaste_mail::Domain::parse(text.strip_suffix('.').unwrap_or(text)).map_err(|error| error.to_string())
}
