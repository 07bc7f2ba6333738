//! What makes no sense in a policy though every key is right by itself: rules that can never match, and demands that
//! contradict each other. Also what is allowed and probably not meant.

use std::collections::BTreeMap;

use posthaste_mail::{Domain, Lane};

use crate::builtin;
use crate::file::{AddressFamily, Matches, Policy, Shaping};
use crate::read::Positions;
use crate::section::Notes;
use crate::span::{DAY, show_span};
use crate::standing::reaction::{Effect, Reaction};
use crate::tls::TlsMode;
use crate::verdict::Action;

pub(crate) fn check(policy: &Policy, at: &Positions, notes: &Notes<'_>) {
    check_hosts(policy, at, notes);
    check_retry(policy, notes);
    check_shaping(policy, at, notes);
    check_routes(policy, at, notes);
    check_verdicts(policy, at, notes);
    check_reactions(policy, at, notes);
    if policy.retention.ledger < DAY {
        notes.problem("retention.ledger", "idempotency keys are kept 24h or more: write at least \"24h\"");
    }
    if policy.retention.spool > policy.retention.ledger {
        notes
            .problem("retention.spool", "is longer than ledger: nothing would find those messages; lower it");
    }
}

fn check_hosts(policy: &Policy, at: &Positions, notes: &Notes<'_>) {
    if notes.has("sandbox.all") && !policy.sandbox.all && policy.sandbox_only() {
        let message =
            "mail cannot leave without a name to say in EHLO: set mta.hostname, or leave sandbox.all out";
        notes.problem("sandbox.all", message);
    }
    if policy.smtp.address_families.is_empty() {
        notes.problem("smtp.address_families", "is empty, so no host could be reached: write [\"ipv4\"]");
    }
    if policy.tls.mode == TlsMode::Never {
        for (key, on) in [("tls.dane", policy.tls.dane), ("tls.mta_sts", policy.tls.mta_sts)] {
            if on && notes.has(key) {
                notes.problem(
                    key,
                    "demands TLS where a domain publishes it, and tls.mode = \"never\" forbids it: drop one",
                );
            }
        }
    }
    let mut seen = BTreeMap::new();
    for (n, egress) in at.egress.iter().zip(&policy.egress) {
        if let Some(first) = seen.insert(egress.name.clone(), n) {
            notes.problem(
                &format!("egress[{n}].name"),
                format!("`{}` is egress[{first}] already", egress.name),
            );
        }
    }
}

fn check_retry(policy: &Policy, notes: &Notes<'_>) {
    for lane in Lane::ALL {
        let retry = policy.retry(lane);
        // A lane's key where it stands, else the general one: what is wrong there is then said once.
        let key = |key: &str| {
            let own = format!("retry.{lane}.{key}");
            if notes.has(&own) { own } else { format!("retry.{key}") }
        };
        if retry.schedule.is_empty() {
            notes.problem(&key("schedule"), "is empty: write at least one wait");
        }
        if retry.throttle.is_empty() {
            notes.problem(&key("throttle"), "is empty: write at least one wait");
        }
        if notes.has(&key("ambiguous_after")) && retry.ambiguous_after >= retry.expire_after {
            notes.problem(
                &key("ambiguous_after"),
                "is not before expire_after: the message would never be sent again",
            );
        }
    }
}

fn check_shaping(policy: &Policy, at: &Positions, notes: &Notes<'_>) {
    let mut seen = BTreeMap::new();
    for (n, rule) in at.shaping.iter().zip(&policy.shaping) {
        let path =
            |key: &str| if key.is_empty() { format!("shaping[{n}]") } else { format!("shaping[{n}].{key}") };
        if let Some(first) = seen.insert(rule.matches.to_string(), n) {
            let line = notes.line_of(&format!("shaping[{first}]"));
            notes.problem(
                &path("match"),
                format!("can never match: shaping[{first}] on line {line} has the same match; merge them"),
            );
        }
        if says_nothing(rule) {
            notes.problem(&path(""), "says nothing: give it a rate, connections, tls, …, or drop it");
        }
        if let (Some(start), Some(rate)) = (rule.start, rule.rate)
            && start.slower(rate) == rate
            && start != rate
        {
            notes.problem(
                &path("start"),
                format!("{start} is above the rate {rate} it grows towards: lower it"),
            );
        }
        if rule.start.is_some() && rule.rate.is_none() {
            notes.problem(&path("start"), "needs a rate to grow towards: write rate = \"20/s\" beside it");
        }
        if let Some(egress) = &rule.egress
            && policy.egress(egress).is_none()
        {
            let names: Vec<&str> = policy.egress.iter().map(|e| e.name.as_str()).collect();
            notes.problem(
                &path("egress"),
                format!("there is no egress `{egress}`: known are {}", names.join(", ")),
            );
        }
        if let Matches::Site(site) = &rule.matches
            && let Some(message) = impossible_site(site.as_str())
        {
            notes.problem(&path("match.site"), message);
        }
    }
}

fn says_nothing(rule: &Shaping) -> bool {
    *rule == Shaping::new(rule.name.clone(), rule.matches.clone())
}

/// Why no domain is ever at a site of this name.
fn impossible_site(site: &str) -> Option<String> {
    let host = site.split(['~', ':']).next().unwrap_or(site);
    let Ok(host) = Domain::parse(host) else {
        return Some(format!(
            "`{site}` can never match: sites are named like \"google.com\" or \"mx.example.net\"; see `policy explain`"
        ));
    };
    let (suffix, name) = builtin::suffixes().find(|(suffix, _)| host.is_under(suffix))?;
    let message = format!(
        "can never match: hosts under {suffix} are the site {name}; write site = \"{name}\" or mx_suffix = \".{host}\""
    );
    (site != name.as_str()).then_some(message)
}

fn check_routes(policy: &Policy, at: &Positions, notes: &Notes<'_>) {
    let mut seen = BTreeMap::new();
    for (n, route) in at.routes.iter().zip(&policy.routes) {
        let path = |key: &str| format!("route[{n}].{key}");
        if let Some(first) = seen.insert(format!("{:?}", route.matches), n) {
            let line = notes.line_of(&format!("route[{first}]"));
            notes.problem(
                &path("match"),
                format!("can never match: route[{first}] on line {line} has the same match; drop one"),
            );
        }
        let relay = &route.smarthost;
        if relay.auth_secret.is_some() && relay.tls != TlsMode::Verify {
            let message = format!(
                "{} with auth_secret: the secret is given only over verified TLS; write \"verify\" or leave it out",
                relay.tls
            );
            notes.problem(&path("tls"), message);
        }
        if relay.auth_secret.is_none() && relay.username.is_some() {
            notes.problem(&path("username"), "has no auth_secret to go with it");
        }
    }
}

fn check_verdicts(policy: &Policy, at: &Positions, notes: &Notes<'_>) {
    let mut seen = BTreeMap::new();
    for (n, rule) in at.verdicts.iter().zip(&policy.verdicts) {
        let path =
            |key: &str| if key.is_empty() { format!("verdict[{n}]") } else { format!("verdict[{n}].{key}") };
        if let Some(first) = seen.insert(rule.name.clone(), n) {
            notes.problem(&path("name"), format!("`{}` is verdict[{first}] already", rule.name));
        }
        let open =
            rule.code.is_empty() && rule.enhanced.is_empty() && rule.text.is_empty() && rule.mx.is_empty();
        if open {
            notes.problem(&path(""), "would match every reply: give it a code, enhanced, text or mx");
        }
        let classes: Vec<u16> = [4, 5].into_iter().filter(|class| rule.takes_class(*class)).collect();
        if classes.is_empty() {
            notes.problem(&path("enhanced"), "can never match: code and enhanced are of different classes");
        }
        if rule.action == Some(Action::Bounce) && classes == [4] {
            notes
                .problem(&path("action"), "a 4xx never bounces: leave action out, or let the rule match 5xx");
        }
        if rule.action == Some(Action::Deliver) {
            notes.problem(&path("action"), "a refusal cannot be made a delivery");
        }
    }
}

fn check_reactions(policy: &Policy, at: &Positions, notes: &Notes<'_>) {
    let mut seen: Vec<(&Reaction, &usize)> = Vec::new();
    for (n, rule) in at.reactions.iter().zip(&policy.reactions) {
        let path = |key: &str| {
            if key.is_empty() { format!("reaction[{n}]") } else { format!("reaction[{n}].{key}") }
        };
        if rule.is_open() {
            notes.problem(
                &path(""),
                "would react to every refusal: give it a category, scope, rule, code or text",
            );
        }
        if let Some((_, first)) = seen.iter().find(|(earlier, _)| earlier.fits_the_same(rule)) {
            let line = notes.line_of(&format!("reaction[{first}]"));
            notes.problem(
                &path(""),
                format!(
                    "can never match: reaction[{first}] on line {line} takes the same answers; merge them"
                ),
            );
        }
        seen.push((rule, n));
        let nothing = rule.effects.contains(&Effect::Nothing);
        if nothing && rule.effects.len() > 1 {
            notes.problem(&path("do"), "says nothing and something: leave one out");
        }
        let closes = |effect: &Effect| matches!(effect, Effect::Suspend | Effect::HoldSender);
        if rule.probe.is_some() && !rule.effects.iter().any(closes) {
            notes.problem(
                &path("probe"),
                "is for suspend and hold-sender: nothing is closed that could be probed",
            );
        }
        let timed = |effect: &Effect| closes(effect) || *effect == Effect::HalveConnections;
        if rule.lasts.is_some() && !rule.effects.iter().any(timed) {
            notes.problem(&path("for"), "is for suspend, hold-sender and halve-connections: leave it out");
        }
        if rule.in_a_row && rule.within.is_some() {
            notes.problem(&path("within"), "and in_a_row are two ways of counting: leave one out");
        }
        if rule.domains > rule.count.max(1) {
            notes.problem(
                &path("domains"),
                format!("{} answers cannot come from {} domains: raise count", rule.count, rule.domains),
            );
        }
    }
}

impl Policy {
    /// What is allowed and probably not meant; a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for lane in Lane::ALL {
            let retry = self.retry(lane);
            if let Some(first) = retry.schedule.first().filter(|first| **first >= retry.expire_after) {
                warnings.push(format!(
                    "{lane}: expire_after {} is over before the first retry after {}: every deferral ends as expired",
                    show_span(retry.expire_after),
                    show_span(*first)
                ));
            }
        }
        let unused = self.routes.len() + self.shaping.len();
        if self.sandbox_only() && !self.sandbox.all && unused > 0 {
            warnings.push(format!("without mta.hostname only the sandbox is served: {unused} routes and shaping rules are not used"));
        }
        let has_v6 = self.egress.iter().flat_map(|e| &e.public_ip).any(std::net::IpAddr::is_ipv6);
        let has_ip = self.egress.iter().any(|e| !e.public_ip.is_empty());
        if self.smtp.address_families.contains(&AddressFamily::Ipv6) && has_ip && !has_v6 {
            warnings.push("smtp.address_families has ipv6 and no egress has a public_ip of that kind: without PTR it earns rejections".to_owned());
        }
        if self.smtp.allow_private_addresses && !self.sandbox.all {
            warnings.push("smtp.allow_private_addresses is on: anyone who may send can have this machine connect to internal hosts".to_owned());
        }
        if self.smtp.dot_timeout < std::time::Duration::from_secs(600) {
            warnings.push(
                "smtp.dot_timeout is under 10m (RFC 5321 4.5.3.2.6): a shorter wait makes duplicates"
                    .to_owned(),
            );
        }
        warnings
    }
}

#[cfg(test)]
mod tests;
