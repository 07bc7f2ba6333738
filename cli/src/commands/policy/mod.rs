//! `policy`: what a policy file says, before anything runs by it.

mod check;
mod explain;
pub(crate) mod file;

pub(crate) use file::{PolicyFile, Unreadable, read};

use crate::failure::Outcome;

/// Check a policy file, or ask what it means for a domain.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  posthaste policy check policy.toml
  posthaste policy explain example.net --policy policy.toml")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Unknown keys, rules that can never match and contradictions, each with its line
    Check(check::Args),
    /// The MX hosts, site, limits, schedule and TLS for a domain, and the rule behind each
    Explain(explain::Args),
}

/// Runs it.
pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::Check(args) => check::run(args),
        What::Explain(args) => super::wait_for(explain::run(args)),
    }
}
