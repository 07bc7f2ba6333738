//! The sandbox receiver of this machine, and where its mail goes.

use std::sync::Arc;
use std::time::Duration;

use posthaste_mail::Domain;
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::deliver::{SandboxWay, SandboxWays};
use posthaste_pipeline::feedback::{self, Arrived, act};
use posthaste_pipeline::stores::Stores;
use posthaste_sandbox::{Config, Feedback, Limits, Sandbox, SandboxError, SandboxRoute, Tries};
use tokio::sync::mpsc;

use super::Stop;

/// What it calls itself: a name nobody can have (RFC 2606).
const HOSTNAME: &str = "mx.sandbox.example";

/// Reports that may wait to be taken in; more at once are lost, with a warning.
const REPORTS_WAITING: usize = 10_000;

/// Reports of `complaint@` and `late-bounce@` on their way back.
pub(super) type Reports = mpsc::Receiver<Feedback>;

/// A sandbox with this machine's clock, and the reports that come back from it.
pub(super) fn open(ambient: &Ambient) -> Result<(Sandbox, Reports), SandboxError> {
    let (feedback, reports) = mpsc::channel(REPORTS_WAITING);
    let clock = ambient.clock.clone();
    let sandbox = Sandbox::new(Config {
        hostname: HOSTNAME.to_owned(),
        limits: Limits::default(),
        now: Arc::new(move || clock.now()),
        tries: Tries::Counted,
        feedback: Some(feedback),
    })?;
    Ok((sandbox, reports))
}

/// Takes reports in as they come, until it is time to stop. A report may be there before the delivery it is about is
/// written down: then it is handed in again a little later.
pub(super) async fn take_in(ambient: Ambient, stores: Stores, mut reports: Reports, mut stop: Stop) {
    /// How long a delivery takes to be written down, and how often that is looked for.
    const SETTLES_WITHIN: [Duration; 6] = [
        Duration::from_millis(200),
        Duration::from_millis(300),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_secs(3),
        Duration::from_secs(10),
    ];
    loop {
        let report = tokio::select! {
            () = stop.asked() => return,
            report = reports.recv() => report,
        };
        let Some(report) = report else { return };
        let (ambient, stores) = (ambient.clone(), stores.clone());
        tokio::spawn(async move {
            let arrived = Arrived {
                mail_from: Some(report.mail_from),
                rcpt_to: vec![report.rcpt_to],
                token: report.token,
                by: None,
                raw: &report.raw,
            };
            for wait in SETTLES_WITHIN {
                tokio::time::sleep(wait).await;
                match act(&ambient, &stores, &arrived).await {
                    Ok(Some(_)) => return,
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "a report of the sandbox could not be taken in yet"),
                }
            }
            if let Err(error) = feedback::take_in(&ambient, &stores, &arrived).await {
                tracing::error!(%error, "a report of the sandbox is lost");
            }
        });
    }
}

/// Where the sandbox takes mail.
pub(super) struct Ways(pub(super) Sandbox);

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
