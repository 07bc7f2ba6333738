//! Everything that would apply to one domain, and which rule gave it: what `policy explain` shows.

use posthaste_mail::{Domain, Lane};
use serde::Serialize;

use crate::file::{Policy, Smarthost};
use crate::limits::{Given, Limits, Place};
use crate::site::{Hosts, SiteName};
use crate::span::show_span;
use crate::tls::TlsMode;
use crate::verdict::RuleName;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// What was asked about.
    pub domain: Domain,
    /// Its MX hosts in order, if it has any.
    pub hosts: Vec<Domain>,
    /// Its site.
    pub site: SiteName,
    /// The relay that is used instead of MX hosts.
    pub route: Option<Smarthost>,
    /// Whether its mail goes to the sandbox receiver.
    pub sandbox: bool,
    /// Every limit with its rule. In the sandbox nothing is paced.
    pub limits: Limits,
    /// The TLS demanded, before what the domain itself publishes.
    pub tls: Given<TlsMode>,
    /// When mail is tried again.
    pub lanes: Vec<LaneExplained>,
}

/// The schedule of one lane, spans as they are written in the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LaneExplained {
    /// Which.
    pub lane: Lane,
    /// Waits between attempts; the last repeats.
    pub schedule: Vec<String>,
    /// Share by which waits may be longer.
    pub jitter: f64,
    /// From acceptance to giving up.
    pub expire_after: String,
    /// Waits after throttles; the last repeats.
    pub throttle: Vec<String>,
    /// When a message that may have been taken is sent again.
    pub ambiguous_after: String,
}

impl Policy {
    /// What applies to a domain with these MX hosts; none means an implicit MX.
    pub fn explain(&self, domain: &Domain, mx: &[Domain]) -> Explained {
        let route = self.route(domain).filter(|_| !self.sandbox_only());
        let through = match route {
            _ if self.sandbox_only() => Hosts::Sandbox,
            Some(relay) => Hosts::Smarthost(relay.host.as_str(), relay.port),
            None if mx.is_empty() => Hosts::Implicit,
            None => Hosts::Mx(mx),
        };
        let site = self.site_of(through, domain);
        let hosts = match through {
            Hosts::Smarthost(..) => {
                route.map(|relay| relay.host.name().cloned().into_iter().collect()).unwrap_or_default()
            }
            _ => mx.to_vec(),
        };
        let limits = self.limits(&Place { site: &site, hosts: &hosts, domain });
        let tls = match route {
            Some(relay) => Given { value: relay.tls, by: RuleName::new("[[route]] tls") },
            None => limits.tls.clone(),
        };
        let shown = |list: &[std::time::Duration]| list.iter().map(|span| show_span(*span)).collect();
        let lanes = Lane::ALL.map(|lane| {
            let retry = self.retry(lane);
            LaneExplained {
                lane,
                schedule: shown(&retry.schedule),
                jitter: retry.jitter,
                expire_after: show_span(retry.expire_after),
                throttle: shown(&retry.throttle),
                ambiguous_after: show_span(retry.ambiguous_after),
            }
        });
        Explained {
            domain: domain.clone(),
            hosts,
            site,
            route: route.cloned(),
            sandbox: self.sandbox_only(),
            limits,
            tls,
            lanes: lanes.into(),
        }
    }
}
