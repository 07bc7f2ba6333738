//! A scenario: what mail comes in, who receives it and how, and what goes wrong meanwhile.

use std::time::Duration;

use posthaste_mail::{Domain, Lane};
use posthaste_policy::span::parse_span;
use posthaste_policy::{Policy, Rate};
use serde::{Deserialize, Deserializer};

/// Messages of one scenario: about 50 octets each in memory.
const MESSAGES_MAX: u64 = 20_000_000;
/// Deliver functions at once.
const WORKERS_MAX: usize = 1_000;
/// Receivers of one scenario.
const RECEIVERS_MAX: usize = 1_000;

/// A scenario as its file says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What it shows.
    #[serde(default)]
    pub title: String,
    /// Everything that is left to chance follows from it.
    #[serde(default = "one")]
    pub seed: u64,
    /// When to give up waiting for the end.
    #[serde(default = "days", deserialize_with = "span")]
    pub ends_after: Duration,
    /// A policy file's text.
    #[serde(default)]
    pub policy: String,
    /// Who delivers.
    #[serde(default)]
    pub workers: Workers,
    /// What comes in.
    pub mail: Vec<Mail>,
    /// Who receives it.
    pub receiver: Vec<Receiver>,
}

/// Who delivers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Workers {
    /// Functions at once.
    pub count: usize,
    /// Their clocks differ by up to this.
    #[serde(deserialize_with = "span")]
    pub skew: Duration,
    /// One of them dies this often, with all its connections and jobs in hand.
    #[serde(deserialize_with = "some_span")]
    pub crash_every: Option<Duration>,
    /// One of them stands still this often …
    #[serde(deserialize_with = "some_span")]
    pub stall_every: Option<Duration>,
    /// … for so long.
    #[serde(deserialize_with = "span")]
    pub stall_for: Duration,
    /// Share of jobs that come twice.
    pub duplicates: f64,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            count: 8,
            skew: Duration::ZERO,
            crash_every: None,
            stall_every: None,
            stall_for: Duration::from_secs(60),
            duplicates: 0.0,
        }
    }
}

/// Mail that comes in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mail {
    /// How much.
    pub messages: u64,
    #[serde(default)]
    pub lane: Lane,
    /// Whose; tenants share fairly.
    #[serde(default = "acme")]
    pub tenant: String,
    /// When the first comes.
    #[serde(default, deserialize_with = "span")]
    pub starts: Duration,
    /// Over what time they come, evenly.
    #[serde(default, deserialize_with = "span")]
    pub over: Duration,
    /// Only to these receivers, by name; to all of them by their share without.
    #[serde(default)]
    pub to: Vec<String>,
}

/// One receiver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receiver {
    /// What the report calls it.
    pub name: String,
    /// Its MX hosts: its site and its limits in the policy follow from them.
    pub mx: Vec<String>,
    /// Its part of the mail, beside the others'.
    #[serde(default = "whole")]
    pub share: f64,
    /// From MAIL to the reply to the dot.
    #[serde(default = "quick", deserialize_with = "span")]
    pub latency: Duration,
    /// Recipients it takes in a time; above it answers that there are too many.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Connections it takes at once.
    #[serde(default)]
    pub connections: Option<u32>,
    /// Messages it takes over one connection.
    #[serde(default)]
    pub messages_per_connection: Option<u32>,
    /// It asks each message to come back after this.
    #[serde(default, deserialize_with = "some_span")]
    pub greylist: Option<Duration>,
    /// Share of mailboxes that are not there.
    #[serde(default)]
    pub unknown: f64,
    /// When nobody answers there.
    #[serde(default)]
    pub outage: Vec<Window>,
    /// When it answers that there are too many, whatever the rate.
    #[serde(default)]
    pub throttling: Vec<Window>,
}

/// A time in which something is so.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    #[serde(deserialize_with = "span")]
    pub from: Duration,
    #[serde(rename = "for", deserialize_with = "span")]
    pub lasts: Duration,
    /// For this share of answers.
    #[serde(default = "whole")]
    pub share: f64,
}

fn one() -> u64 {
    1
}

fn whole() -> f64 {
    1.0
}

fn days() -> Duration {
    Duration::from_secs(5 * 86_400)
}

fn quick() -> Duration {
    Duration::from_millis(300)
}

fn acme() -> String {
    "default".to_owned()
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse_span(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

fn some_span<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    span(from).map(Some)
}

impl Scenario {
    /// Reads one; the error names the line or the key.
    pub(crate) fn read(text: &str) -> Result<(Self, Policy), String> {
        let scenario: Self = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
        let policy = Policy::parse(&scenario.policy).map_err(|problems| {
            let told: Vec<String> = problems.iter().map(|problem| format!("policy: {problem}")).collect();
            told.join("; ")
        })?;
        scenario.check()?;
        Ok((scenario, policy))
    }

    /// How many messages there are.
    pub(crate) fn messages(&self) -> u64 {
        self.mail.iter().map(|mail| mail.messages).sum()
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=MESSAGES_MAX).contains(&self.messages()) {
            return Err(format!("mail.messages: 1 to {MESSAGES_MAX} in all"));
        }
        if !(1..=WORKERS_MAX).contains(&self.workers.count) {
            return Err(format!("workers.count: 1 to {WORKERS_MAX}"));
        }
        if !(1..=RECEIVERS_MAX).contains(&self.receiver.len()) {
            return Err(format!("receiver: 1 to {RECEIVERS_MAX} of them"));
        }
        let shares = [("workers.duplicates", self.workers.duplicates)];
        let of_receivers = self.receiver.iter().map(|receiver| ("receiver.unknown", receiver.unknown));
        for (key, share) in shares.into_iter().chain(of_receivers) {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{key}: a share is 0 to 1"));
            }
        }
        for receiver in &self.receiver {
            if receiver.mx.is_empty() {
                return Err(format!("receiver `{}`: mx names no host", receiver.name));
            }
            if !(receiver.share > 0.0 && receiver.share.is_finite()) {
                return Err(format!("receiver `{}`: share is more than nothing", receiver.name));
            }
            for host in &receiver.mx {
                Domain::parse(host)
                    .map_err(|error| format!("receiver `{}`: mx {host}: {error}", receiver.name))?;
            }
        }
        for mail in &self.mail {
            posthaste_mail::Tenant::parse(&mail.tenant)
                .ok_or_else(|| format!("mail.tenant: `{}` is no tenant", mail.tenant))?;
            for name in &mail.to {
                if !self.receiver.iter().any(|receiver| receiver.name == *name) {
                    return Err(format!("mail.to: there is no receiver `{name}`"));
                }
            }
        }
        Ok(())
    }
}

impl Window {
    /// Whether a time since the start lies in it.
    pub(crate) fn holds(&self, since: Duration) -> bool {
        since >= self.from && since < self.from + self.lasts
    }
}
