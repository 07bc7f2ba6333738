//! The sandbox receiver of a deliver function: the same receiver as anywhere, in the function's own process, on
//! loopback. What is sent there never leaves the environment; what it received is kept in the table before the
//! invocation ends, under the tenant whose message it was.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures::{StreamExt, stream};
use posthaste_aws::Aws;
use posthaste_mail::{Domain, Tenant};
use posthaste_pipeline::ambient::{Ambient, Chance};
use posthaste_pipeline::deliver::{SandboxWay, SandboxWays};
use posthaste_pipeline::feedback::{self, Arrived};
use posthaste_pipeline::stores::Stores;
use posthaste_sandbox::{
    Config, Feedback, Limits, Listening, Sandbox, SandboxError, SandboxRoute, Summary, Tries,
};
use tokio::sync::{Mutex, mpsc};

/// What it calls itself: a name nobody can have (RFC 2606).
const HOSTNAME: &str = "mx.sandbox.example";
/// What it holds until the invocation ends, beside everything else in 256 MB.
const LIMITS: Limits =
    Limits { messages: 1_000, octets: 48 << 20, octets_in_flight: 48 << 20, connections: 100 };
/// Reports that may wait until the invocation ends; more are lost, with a warning.
const REPORTS_WAITING: usize = 1_000;
/// Writes at once.
const WRITES_AT_ONCE: usize = 16;

/// A sandbox that listens.
pub(crate) struct Receiver {
    sandbox: Sandbox,
    /// Reports of `complaint@` and `late-bounce@` on their way back.
    reports: Mutex<mpsc::Receiver<Feedback>>,
    _listening: Listening,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// It could not be made.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// It cannot listen.
    #[error("the sandbox receiver cannot listen on loopback: {0}")]
    Listen(#[from] std::io::Error),
}

impl Receiver {
    /// One with the environment's clock. Which try a message is on it is told: the last one may have come to another
    /// environment's.
    pub(crate) async fn start(ambient: &Ambient) -> Result<Self, ReceiverError> {
        let clock = ambient.clock.clone();
        let (feedback, reports) = mpsc::channel(REPORTS_WAITING);
        let sandbox = Sandbox::new(Config {
            hostname: HOSTNAME.to_owned(),
            limits: LIMITS,
            now: Arc::new(move || clock.now()),
            tries: Tries::Told,
            feedback: Some(feedback),
        })?;
        let listening = sandbox.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        Ok(Self { sandbox, reports: Mutex::new(reports), _listening: listening })
    }

    /// Where it takes mail.
    pub(crate) fn ways(&self) -> Arc<dyn SandboxWays> {
        Arc::new(Ways(self.sandbox.clone()))
    }

    /// Takes in the reports that have come back: every delivery of the invocation is written down by now.
    pub(crate) async fn take_reports_in(&self, ambient: &Ambient, stores: &Stores) {
        let mut reports = self.reports.lock().await;
        while let Ok(report) = reports.try_recv() {
            let arrived = Arrived {
                mail_from: Some(report.mail_from),
                rcpt_to: vec![report.rcpt_to],
                token: report.token,
                by: None,
                raw: &report.raw,
            };
            if let Err(error) = feedback::take_in(ambient, stores, &arrived).await {
                tracing::warn!(%error, "a report of the sandbox is lost");
            }
        }
    }

    /// Takes out what was received.
    pub(crate) fn take(&self) -> Vec<Summary> {
        self.sandbox.take_messages()
    }

    /// Keeps what was received, each under the tenant of its message. What fails here is mail that nobody sees: told in
    /// the log, and no reason to send anything again.
    pub(crate) async fn keep(&self, aws: &Aws, chance: &dyn Chance, tenants: &HashMap<String, Tenant>) {
        let received = self.take().into_iter().filter_map(|summary| {
            let tenant = tenants.get(summary.xid.as_deref()?)?;
            Some((tenant, named(summary, chance)))
        });
        let kept = stream::iter(received).map(|(tenant, summary)| async move {
            aws.keep_sandboxed(tenant, &summary.id, summary.received_at, &summary).await
        });
        let mut kept = kept.buffer_unordered(WRITES_AT_ONCE);
        while let Some(kept) = kept.next().await {
            if let Err(error) = kept {
                tracing::warn!(%error, "what the sandbox received could not be kept");
            }
        }
    }
}

/// Under an id that is nobody else's and stands in the order of time: this sandbox's own counts from its start.
fn named(summary: Summary, chance: &dyn Chance) -> Summary {
    let [a, b, c, d, ..] = chance.octets();
    let id = format!("sbx_{:011x}{:08x}", summary.received_at.0, u32::from_be_bytes([a, b, c, d]));
    Summary { id, ..summary }
}

struct Ways(Sandbox);

impl SandboxWays for Ways {
    fn way(&self, domain: &Domain) -> SandboxWay {
        match self.0.route(domain) {
            SandboxRoute::NullMx => SandboxWay::NullMx,
            SandboxRoute::ServFail => SandboxWay::ServFail,
            SandboxRoute::NoSuchDomain => SandboxWay::NoSuchDomain,
            SandboxRoute::Hosts(hosts) => {
                let listening = hosts.into_iter().filter_map(|host| Some((host.name, host.address?)));
                SandboxWay::Hosts(listening.collect())
            }
        }
    }
}
