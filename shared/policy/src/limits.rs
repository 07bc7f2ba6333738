//! What a receiver is allowed: each number from the most specific rule that names it, with that rule's name.

use posthaste_mail::Domain;
use serde::Serialize;

use crate::builtin;
use crate::file::{EgressName, Matches, Policy, Shaping};
use crate::names::named;
use crate::rate::{RATE_COUNT_MAX, Rate};
use crate::site::SiteName;
use crate::tls::TlsMode;
use crate::verdict::RuleName;

/// Where a message is about to go.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The site of the domain, or of the host about to be connected to.
    pub site: &'a SiteName,
    /// The MX host about to be connected to, alone; or the whole set for an overview, where a rule matches if it
    /// matches any of them.
    pub hosts: &'a [Domain],
    /// The recipient domain.
    pub domain: &'a Domain,
}

/// A value and the rule that gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// The rule's name: `default`, `domain example.net`, `built-in mx_suffix .google.com`, …
    pub by: RuleName,
}

/// Everything that is limited towards one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Recipients in a time.
    pub rate: Given<Rate>,
    /// How many recipients' worth of unspent time stays good.
    pub burst: Given<u32>,
    /// Connections at once, from one egress.
    pub connections: Given<u32>,
    /// Transactions on one connection before it is closed.
    pub messages_per_connection: Given<u32>,
    /// New connections in a time.
    pub connection_rate: Given<Rate>,
    /// Recipients in one transaction.
    pub recipients_per_message: Given<u32>,
    /// TLS demanded, as far as shaping and `[tls]` say; see `Policy::tls_for`.
    pub tls: Given<TlsMode>,
    /// From which egress it goes.
    pub egress: Given<EgressName>,
    /// The rate to begin with where it grows towards `rate` by itself; none where `rate` holds from the first message.
    pub start: Given<Option<Rate>>,
    /// For whom these are counted.
    pub per: Given<Per>,
}

named! {
    /// For whom limits are counted.
    Per {
        /// All mail from one egress to the site together.
        Site = "site",
        /// The mail of each sending domain.
        SendingDomain = "sending-domain",
    }
}

/// A connection rate that nobody wrote leaves so much room over what the rate needs.
const CONNECTION_RATE_ROOM: f64 = 1.5;

impl Policy {
    /// The limits towards a place. More specific rules first: domain, longest MX suffix, site, default; among equals
    /// the file's before the built-in. A `default` of the file never raises what is known of a receiver.
    pub fn limits(&self, place: &Place<'_>) -> Limits {
        let rules = self.rules_for(place);
        let floor = builtin::default_rule();
        let rate =
            pick(&rules, |r| r.rate).unwrap_or_else(|| given(floor.rate.unwrap_or(Rate::Unlimited), floor));
        let start = match rules.iter().find(|r| r.start.is_some() || r.rate.is_some()) {
            Some(rule) => given(rule.start, rule),
            None => given(floor.start, floor),
        };
        let messages_per_connection = known_or_lower(&rules, |r| r.messages_per_connection);
        let connection_rate =
            pick(&rules, |r| r.connection_rate).unwrap_or_else(|| given(Rate::Unlimited, floor));
        let connection_rate = reachable(connection_rate, &rate, messages_per_connection.value, &rules);
        Limits {
            burst: pick(&rules, |r| r.burst).unwrap_or_else(|| given(1, floor)),
            connections: known_or_lower(&rules, |r| r.connections),
            messages_per_connection,
            connection_rate,
            recipients_per_message: known_or_lower(&rules, |r| r.recipients_per_message),
            tls: self.shaped_tls(&rules),
            egress: pick(&rules, |r| r.egress.clone()).unwrap_or_else(|| Given {
                value: self.default_egress().name.clone(),
                by: RuleName::new("[[egress]]"),
            }),
            rate,
            start,
            per: pick(&rules, |r| r.per).unwrap_or_else(|| given(Per::Site, floor)),
        }
    }

    /// The rules that match, most specific first; the built-in default is last and names every number.
    fn rules_for(&self, place: &Place<'_>) -> Vec<&Shaping> {
        let own = self.shaping.iter().filter(|rule| rule.matches.applies(place));
        let known = builtin::rules().iter().filter(|rule| rule.matches.applies(place));
        let mut rules: Vec<&Shaping> = own.chain(known).collect();
        // Stable: among rules as specific as each other the file's stay before the built-in ones.
        // A built-in rule by suffix says what is known of a site: a rule of the file that names the site comes before it.
        let specificity = |rule: &Shaping| match rule.matches {
            Matches::MxSuffix(_) if rule.built_in => (1, 0),
            _ => rule.matches.specificity(),
        };
        rules.sort_by_key(|rule| std::cmp::Reverse(specificity(rule)));
        rules
    }

    /// A rule of the file decides; else what is known to be always offered there, unless `[tls]` wants none.
    fn shaped_tls(&self, rules: &[&Shaping]) -> Given<TlsMode> {
        let general = Given { value: self.tls.mode, by: RuleName::new("[tls] mode") };
        match rules.iter().find_map(|rule| rule.tls.map(|tls| (tls, *rule))) {
            Some((tls, rule)) if !rule.built_in => given(tls, rule),
            Some((tls, rule)) if self.tls.mode != TlsMode::Never && tls > self.tls.mode => given(tls, rule),
            _ => general,
        }
    }
}

/// A rate that somebody wrote is reached: the built-in limit of new connections gives way where it stands against it.
fn reachable(given: Given<Rate>, rate: &Given<Rate>, messages: u32, rules: &[&Shaping]) -> Given<Rate> {
    let built_in = |name: &RuleName| rules.iter().any(|rule| rule.built_in && rule.name == *name);
    if !built_in(&given.by) || built_in(&rate.by) {
        return given;
    }
    let needed = rate.value.a_second() / f64::from(messages.max(1)) * CONNECTION_RATE_ROOM;
    if needed <= given.value.a_second() {
        return given;
    }
    let value = if needed.is_finite() {
        Rate::per_minute((needed * 60.0).ceil().clamp(1.0, f64::from(RATE_COUNT_MAX)) as u32)
    } else {
        Rate::Unlimited
    };
    Given { value, by: rate.by.clone() }
}

fn given<T>(value: T, rule: &Shaping) -> Given<T> {
    Given { value, by: rule.name.clone() }
}

fn pick<T>(rules: &[&Shaping], number: impl Fn(&Shaping) -> Option<T>) -> Option<Given<T>> {
    rules.iter().find_map(|rule| number(rule).map(|value| given(value, rule)))
}

/// The most specific rule's number; but where that is a built-in receiver's and the file's own `default` is lower,
/// the file's: who asks for at most two connections anywhere means it.
fn known_or_lower(rules: &[&Shaping], number: impl Fn(&Shaping) -> Option<u32>) -> Given<u32> {
    let first = rules.iter().find(|rule| number(rule).is_some());
    let own_default =
        rules.iter().find(|r| !r.built_in && r.matches == Matches::Default && number(r).is_some());
    let floor = builtin::default_rule();
    let rule = match (first, own_default) {
        (Some(first), Some(own)) if first.built_in && number(own) < number(first) => own,
        (Some(first), _) => first,
        (None, _) => return given(number(floor).unwrap_or(1), floor),
    };
    given(number(rule).unwrap_or(1), rule)
}

impl Matches {
    /// Whether a rule with this match is about the place.
    pub fn applies(&self, place: &Place<'_>) -> bool {
        match self {
            Self::Default => true,
            Self::Site(site) => site == place.site,
            Self::MxSuffix(suffix) => place.hosts.iter().any(|host| host.is_under(suffix)),
            Self::Domain(domain) => domain == place.domain,
        }
    }

    /// Larger is more specific: domain, longer suffix, shorter suffix, site, default.
    fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Default => (0, 0),
            Self::Site(_) => (1, 0),
            Self::MxSuffix(suffix) => (2, suffix.trim_start_matches('.').len()),
            Self::Domain(_) => (3, 0),
        }
    }
}

#[cfg(test)]
mod tests;
