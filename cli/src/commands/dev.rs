//! `dev`: the local stack, until it is told to stop.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use posthaste_pipeline::deliver::fit_for_work;
use posthaste_policy::Policy;

use super::policy::PolicyFile;
use crate::failure::{Failure, Outcome};
use crate::host::{Access, Host, Place, Setup, stop_asked};
use crate::log::{self, LogForm};

/// The local stack, until Ctrl-C or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints `ready http://…` on stdout once it serves; logs go to stderr. What was accepted is taken \
up again after any stop. Without a policy file all mail goes to the sandbox receiver. A changed policy file is put in \
force within seconds; one that is wrong is refused, and the old one stays. Beyond loopback every request needs a key: make the first with \
`posthaste api-key create --operator --state DIR`, and put TLS before it. The secret `relay` of a route is the \
variable POSTHASTE_SECRET_RELAY.

Examples:
  posthaste dev
  posthaste dev --policy policy.toml --state /var/lib/posthaste
  posthaste dev --http 0.0.0.0:8025 --state /var/lib/posthaste
  posthaste dev --http 127.0.0.1:0 --sandbox-smtp 127.0.0.1:2525 --log json"
)]
pub(crate) struct Args {
    #[command(flatten)]
    policy: PolicyFile,
    /// Where the API listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8025", value_parser = address)]
    http: SocketAddr,
    /// Ask for a key on loopback too: for a proxy on this machine
    #[arg(long)]
    require_key: bool,
    /// Where the sandbox receiver listens for any SMTP client; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = address)]
    sandbox_smtp: SocketAddr,
    /// Where messages and their history are kept
    #[arg(long, value_name = "DIR", default_value = ".posthaste")]
    state: PathBuf,
    /// Keep mail at this AWS-compatible endpoint (LocalStack, ministack) and not in a directory; what is needed there is
    /// made, under names that begin with posthaste-dev. Account and region are the environment's
    #[arg(long, value_name = "URL", conflicts_with = "state")]
    aws_endpoint: Option<String>,
    /// How log lines look; RUST_LOG says which there are
    #[arg(long, value_name = "FORM", default_value = "text")]
    log: LogForm,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let text =
        text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:8025".to_owned())
}

/// Runs it.
pub(crate) fn run(args: Args) -> Outcome {
    log::begin(args.log, "info");
    let policy = match args.policy.path() {
        Some(_) => args.policy.read_or_default()?,
        None => Policy::sandbox(),
    };
    if let Some(file) = args.policy.path() {
        fit_for_work(&policy).map_err(|why| Failure::input(format!("{}: {why}", file.display())))?;
    }
    for warning in policy.warnings() {
        tracing::warn!("policy: {warning}");
    }
    let setup = Setup {
        policy,
        policy_file: args.policy.path().map(PathBuf::from),
        http: args.http,
        access: if args.require_key || !args.http.ip().is_loopback() { Access::Keys } else { Access::Open },
        sandbox_smtp: args.sandbox_smtp,
        place: match args.aws_endpoint {
            Some(endpoint) => Place::Aws(endpoint),
            None => Place::State(args.state),
        },
    };
    super::host_runtime()?.block_on(serve(setup))
}

async fn serve(setup: Setup) -> Outcome {
    let mut stopping = std::pin::pin!(stop_asked());
    let (place, sandbox_only) = (setup.place.clone(), setup.policy.sandbox_only());
    let host = tokio::select! {
        started = Host::start(setup) => started?,
        () = &mut stopping => return Ok(()),
    };
    tracing::info!(
        http = %host.http(),
        sandbox_smtp = %host.sandbox_smtp(),
        kept_in = %place,
        mail_goes_to = if sandbox_only { "the sandbox" } else { "its recipients" },
        "the local stack is ready"
    );
    // Who started this may have gone on without reading.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "ready http://{}", host.http()).and_then(|()| out.flush());
    drop(out);
    stopping.await;
    tracing::info!("stopping");
    tokio::select! {
        stopped = host.stop() => stopped,
        // Asked twice, it does not wait.
        () = stop_asked() => Err(Failure::FailedTold),
    }
}
