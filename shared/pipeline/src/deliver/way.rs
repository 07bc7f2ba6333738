//! From a job's domain to where it goes: the smarthost its policy names, the sandbox, or the domain's MX hosts,
//! with the site's limits and the TLS it takes.

use std::net::SocketAddr;
use std::sync::Arc;

use posthaste_mail::Domain;
use posthaste_policy::file::EgressName;
use posthaste_policy::limits::Per;
use posthaste_policy::pacing::line::{Growth, Outlook};
use posthaste_policy::standing::{Allowed, Gate};
use posthaste_policy::{Hosts, Limits, Place, Policy, SiteName, Smarthost, TlsMode, Trouble};
use posthaste_route::{MailHosts, Source};

use super::outcome::{Failure, of_route};
use super::wired::Wired;
use crate::pacer::PaceKey;
use crate::row::{Job, Realm};

/// Where the sandbox receiver takes a domain's mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxWay {
    /// To these hosts, in order.
    Hosts(Vec<(String, SocketAddr)>),
    /// The domain says that it takes no mail.
    NullMx,
    /// Its name servers fail.
    ServFail,
    /// It does not exist.
    NoSuchDomain,
}

/// The sandbox's answer to MX look-ups.
pub trait SandboxWays: Send + Sync {
    /// Where mail for a domain goes.
    fn way(&self, domain: &Domain) -> SandboxWay;
}

/// Connections to one site of the sandbox: enough for any test, and a bound all the same.
const SANDBOX_CONNECTIONS: u32 = 20;

/// How a job's mail leaves.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// Jobs of one trunk may share connections: same egress, hosts, TLS and route.
    pub trunk: String,
    /// The receiver, for limits and views.
    pub site: SiteName,
    /// The egress.
    pub egress: EgressName,
    /// Whom to connect to.
    pub to: To,
    /// The recipient domain it was found for.
    pub domain: Domain,
    /// The hosts by which limits are found.
    pub hosts: Vec<Domain>,
    /// The policy it was found under.
    pub policy: Arc<Policy>,
    /// What the site may be given at most.
    pub limits: Arc<Limits>,
    /// What is counted together there; none in the sandbox, where nothing is paced.
    pub pace: Option<PaceKey>,
    /// The TLS to insist on.
    pub tls: TlsMode,
}

/// Whom to connect to.
#[derive(Debug, Clone)]
pub(super) enum To {
    /// The domain's mail hosts.
    Mx(Arc<MailHosts>),
    /// A relay.
    Smarthost(Smarthost),
    /// The sandbox receiver.
    Sandbox(Vec<(String, SocketAddr)>),
}

/// What the sandbox's sites are given: everything, at once.
pub(super) fn sandbox_allows() -> Allowed {
    Allowed {
        a_second: f64::INFINITY,
        sender_a_second: f64::INFINITY,
        connections: SANDBOX_CONNECTIONS,
        messages_per_connection: 1_000,
        recipients_per_message: 100,
        gate: Gate::Open,
        outlook: Outlook { a_second: f64::INFINITY, top: f64::INFINITY, growth: Growth::Steady },
    }
}

/// What is counted together with a job's mail at a site.
pub(super) fn pace_key(limits: &Limits, site: &SiteName, sender: Option<&Domain>) -> PaceKey {
    PaceKey {
        egress: limits.egress.value.clone(),
        site: site.clone(),
        sender: match limits.per.value {
            Per::Site => None,
            Per::SendingDomain => sender.cloned(),
        },
    }
}

/// Finds the way of a job, or why there is none.
pub(super) async fn find(
    wired: &Wired,
    sandbox: Option<&dyn SandboxWays>,
    domain: &Domain,
    job: &Job,
) -> Result<Way, Failure> {
    if job.realm == Realm::Sandbox {
        return sandbox_way(&wired.policy, sandbox, domain, job);
    }
    let policy = &wired.policy;
    if let Some(smarthost) = policy.route(domain) {
        return Ok(smarthost_way(policy, smarthost, domain, job));
    }
    let route = wired.resolver.mx(domain).await.map_err(|error| of_route(&error))?;
    let names: Vec<Domain> = route.hosts().iter().map(|mx| mx.host.clone()).collect();
    let hosts = if route.source() == Source::Implicit { Hosts::Implicit } else { Hosts::Mx(&names) };
    let site = policy.site_of(hosts, domain);
    let place = Place { site: &site, hosts: &names, domain };
    let limits = policy.limits(&place);
    let pace = pace_key(&limits, &site, job.sender.as_ref());
    let tls = policy.tls_for(&place, job.tls);
    let mut sorted: Vec<&str> = names.iter().map(Domain::as_str).collect();
    sorted.sort_unstable();
    // A rule for one domain gives it numbers of its own, so it gets a trunk of its own.
    let own = policy
        .shaping
        .iter()
        .any(|rule| matches!(&rule.matches, posthaste_policy::file::Matches::Domain(d) if d == domain));
    let whose = if own { domain.as_str() } else { "" };
    let from = pace.sender.as_ref().map_or("", Domain::as_str);
    let trunk = format!("mx {} {tls} {whose} {from} {}", pace.egress.as_str(), sorted.join(","));
    let (egress, domain) = (pace.egress.clone(), domain.clone());
    let limits = Arc::new(limits);
    let (hosts, policy) = (names, policy.clone());
    Ok(Way { trunk, site, egress, to: To::Mx(route), domain, hosts, policy, limits, pace: Some(pace), tls })
}

fn smarthost_way(policy: &Arc<Policy>, smarthost: &Smarthost, domain: &Domain, job: &Job) -> Way {
    let site = smarthost.site();
    let limits = policy.limits(&Place { site: &site, hosts: &[], domain });
    let pace = pace_key(&limits, &site, job.sender.as_ref());
    let tls = job.tls.map_or(smarthost.tls, |asked| smarthost.tls.and(asked));
    let from = pace.sender.as_ref().map_or("", Domain::as_str);
    let trunk = format!("smarthost {} {tls} {from} {site}", pace.egress.as_str());
    let (egress, domain, limits) = (pace.egress.clone(), domain.clone(), Arc::new(limits));
    let (to, hosts, policy) = (To::Smarthost(smarthost.clone()), Vec::new(), policy.clone());
    Way { trunk, site, egress, to, domain, hosts, policy, limits, pace: Some(pace), tls }
}

fn sandbox_way(
    policy: &Arc<Policy>,
    sandbox: Option<&dyn SandboxWays>,
    domain: &Domain,
    job: &Job,
) -> Result<Way, Failure> {
    let Some(sandbox) = sandbox else {
        return Err(Failure::of_trouble(&Trouble::NoRoute, "no sandbox receiver runs here"));
    };
    let hosts = match sandbox.way(domain) {
        SandboxWay::Hosts(hosts) => hosts,
        SandboxWay::NullMx => {
            return Err(Failure::of_trouble(
                &Trouble::NullMx,
                "the sandbox domain accepts no mail (null MX)",
            ));
        }
        SandboxWay::ServFail => {
            let trouble = Trouble::DnsFailed { detail: "SERVFAIL".to_owned() };
            return Err(Failure::of_trouble(&trouble, "the sandbox domain's name servers fail"));
        }
        SandboxWay::NoSuchDomain => {
            return Err(Failure::of_trouble(&Trouble::NoSuchDomain, "the sandbox domain does not exist"));
        }
    };
    let site = policy.site_of(Hosts::Sandbox, domain);
    let egress = policy.default_egress().name.clone();
    let tls = job.tls.unwrap_or(TlsMode::Opportunistic);
    let trunk = format!("sandbox {tls} {domain}");
    let limits = Arc::new(policy.limits(&Place { site: &site, hosts: &[], domain }));
    let (to, domain, policy) = (To::Sandbox(hosts), domain.clone(), policy.clone());
    Ok(Way { trunk, site, egress, to, domain, hosts: Vec::new(), policy, limits, pace: None, tls })
}
