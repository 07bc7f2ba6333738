//! From mail hosts to the addresses that are tried, in order (RFC 5321 5.1).
//!
//! Choosing is pure: hosts, their addresses and a seed go in, a list comes out. The look-ups around it go on with
//! what resolves, so one dead name never hides a good one.

use std::collections::HashSet;
use std::net::IpAddr;

use futures::future::join_all;
use posthaste_mail::Domain;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::error::RouteError;
use crate::guard::{self, AllowPrivate, Forbidden};
use crate::mx::{MailHosts, MxHost, Source};
use crate::resolver::{Families, Family, Resolver};

/// Addresses tried in one attempt. RFC 5321 5.1 asks for at least two and lets an MTA limit the number; Postfix's
/// `smtp_mx_address_limit` is 5. With 30 s for each connection an attempt ends within minutes.
pub const ADDRESSES_MAX: usize = 5;
/// Hosts looked up side by side.
const WAVE: usize = 5;

/// An address to connect to, and the name it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// The MX name: what TLS verifies and what is shown.
    pub host: Domain,
    /// The address, let through by the guard.
    pub ip: IpAddr,
    /// The host's preference.
    pub preference: u16,
}

impl Resolver {
    /// The addresses to try, the best first and at most [`ADDRESSES_MAX`]; hosts of equal preference in an order
    /// drawn from `seed`. Never empty.
    pub async fn candidates(&self, route: &MailHosts, seed: u64) -> Result<Vec<Candidate>, RouteError> {
        let mut rng = StdRng::seed_from_u64(seed);
        let own_names = if route.source() == Source::Smarthost { &[][..] } else { &self.own_names };
        let hosts = without_loops(route, own_names)?;
        let allow = if route.source() == Source::Smarthost { AllowPrivate::Yes } else { self.allow_private };
        let mut hosts = hosts.to_vec();
        for equals in hosts.chunk_by_mut(|a, b| a.preference == b.preference) {
            equals.shuffle(&mut rng);
        }
        let mut found = Found::default();
        let mut left = &hosts[..];
        while !left.is_empty() && !found.is_enough(left) {
            let (wave, after) = left.split_at(WAVE.min(left.len()));
            let answers = join_all(wave.iter().map(|mx| self.host_addresses(&mx.host))).await;
            for (mx, answer) in wave.iter().zip(answers) {
                found.add(mx, answer, allow, &mut rng);
            }
            left = after;
        }
        found.choose(route, self.families)
    }

    /// A host's addresses of the families in use, or that looking them up failed. With one family failing and
    /// the other answering, what answered is used.
    async fn host_addresses(&self, host: &Domain) -> HostAnswer {
        let ask = async |family| {
            if !self.families.contains(family) {
                return HostAnswer::default();
            }
            match self.addresses(host, family).await {
                Ok(ips) => HostAnswer { ips: ips.to_vec(), failure: None },
                Err(miss) => HostAnswer { ips: Vec::new(), failure: miss.failure(host) },
            }
        };
        let (mut v4, v6) = tokio::join!(ask(Family::V4), ask(Family::V6));
        v4.ips.extend(v6.ips);
        HostAnswer { ips: v4.ips, failure: v4.failure.or(v6.failure) }
    }
}

#[derive(Default)]
struct HostAnswer {
    ips: Vec<IpAddr>,
    failure: Option<RouteError>,
}

/// The hosts better than the best one that is ours (RFC 5321 5.1): from there on it is we who would be asked.
fn without_loops<'a>(route: &'a MailHosts, own_names: &[Domain]) -> Result<&'a [MxHost], RouteError> {
    let hosts = route.hosts();
    let Some(own) = hosts.iter().find(|mx| own_names.contains(&mx.host)) else {
        return Ok(hosts);
    };
    let better = hosts.partition_point(|mx| mx.preference < own.preference);
    if better == 0 {
        return Err(RouteError::LoopsBack { domain: route.domain().clone(), host: own.host.clone() });
    }
    Ok(&hosts[..better])
}

/// What the look-ups have brought so far, in the order of the hosts.
#[derive(Default)]
struct Found {
    hosts: Vec<(MxHost, Vec<IpAddr>)>,
    seen: HashSet<IpAddr>,
    failure: Option<RouteError>,
    forbidden: Option<(Domain, Forbidden)>,
}

impl Found {
    fn add(&mut self, mx: &MxHost, answer: HostAnswer, allow: AllowPrivate, rng: &mut impl Rng) {
        self.failure = self.failure.take().or(answer.failure);
        let mut passed = Vec::new();
        for ip in answer.ips {
            match guard::check(ip, allow) {
                Ok(()) if self.seen.insert(ip) => passed.push(ip),
                Ok(()) => {}
                Err(forbidden) => {
                    self.forbidden = self.forbidden.take().or_else(|| Some((mx.host.clone(), forbidden)));
                }
            }
        }
        if !passed.is_empty() {
            self.hosts.push((mx.clone(), alternate(passed, rng)));
        }
    }

    /// Whether the hosts that are left need no look-up: all places are taken, one of them by a second preference
    /// if there is one.
    fn is_enough(&self, left: &[MxHost]) -> bool {
        let addresses: usize = self.hosts.iter().map(|(_, ips)| ips.len()).sum();
        let Some(best) = self.hosts.first().map(|(mx, _)| mx.preference) else { return false };
        let has_backup = self.hosts.iter().any(|(mx, _)| mx.preference != best);
        addresses >= ADDRESSES_MAX && (has_backup || left.iter().all(|mx| mx.preference == best))
    }

    fn choose(self, route: &MailHosts, families: Families) -> Result<Vec<Candidate>, RouteError> {
        if !self.hosts.is_empty() {
            return Ok(take_turns(&self.hosts));
        }
        let domain = route.domain().clone();
        Err(match (self.failure, self.forbidden) {
            (Some(failure), _) => failure,
            (None, Some((host, forbidden))) => RouteError::Forbidden { domain, host, forbidden },
            (None, None) => RouteError::NoAddresses { domain, families },
        })
    }
}

/// Shuffles a host's addresses, then lets the families take turns, IPv4 first: a family that is broken between us
/// and the host never takes all the places.
fn alternate(mut ips: Vec<IpAddr>, rng: &mut impl Rng) -> Vec<IpAddr> {
    ips.shuffle(rng);
    let (v4, v6): (Vec<_>, Vec<_>) = ips.into_iter().partition(IpAddr::is_ipv4);
    turns(vec![v4, v6])
}

/// The first of each list, then the second of each, and so on.
fn turns<T: Clone>(lists: Vec<Vec<T>>) -> Vec<T> {
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|at| lists.iter().filter_map(move |list| list.get(at).cloned())).collect()
}

/// Hosts of one preference take turns with their addresses, so that a host with many does not push out its equals.
/// If the best preference alone fills all places, the last one goes to the next preference: five dead addresses of
/// one host must not hide the backup that waits for just this.
fn take_turns(hosts: &[(MxHost, Vec<IpAddr>)]) -> Vec<Candidate> {
    let mut all = Vec::new();
    for equals in hosts.chunk_by(|(a, _), (b, _)| a.preference == b.preference) {
        let lists = equals.iter().map(|(mx, ips)| {
            let candidate =
                |ip: &IpAddr| Candidate { host: mx.host.clone(), ip: *ip, preference: mx.preference };
            ips.iter().map(candidate).collect()
        });
        all.extend(turns(lists.collect()));
    }
    let best = all.first().map(|candidate: &Candidate| candidate.preference);
    let best_ones = all.iter().take_while(|candidate| Some(candidate.preference) == best).count();
    if best_ones >= ADDRESSES_MAX && best_ones < all.len() {
        all.swap(ADDRESSES_MAX - 1, best_ones);
    }
    all.truncate(ADDRESSES_MAX);
    all
}
