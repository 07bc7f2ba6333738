//! What a scenario came to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::requests::Requests;
use super::world::{Sample, State, World};

/// See the module.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub title: String,
    pub seed: u64,
    pub messages: u64,
    pub delivered: u64,
    pub bounced: u64,
    pub expired: u64,
    /// Still waiting when the scenario ended.
    pub waiting: u64,
    /// Taken by a receiver more than once: their worker died in between.
    pub copies: u64,
    pub attempts: u64,
    /// From the first message in to the last one's end.
    pub drained_s: f64,
    /// Seconds from acceptance to delivery.
    pub delivered_in: Percentiles,
    pub receivers: Vec<OfReceiver>,
    pub answers: BTreeMap<String, u64>,
    pub queue: Vec<Sample>,
    pub requests: Requests,
    pub dollars: f64,
    /// Limits of the policy that were passed: none, or the pacer is wrong.
    pub passed: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Percentiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub most: f64,
}

/// One receiver's part.
#[derive(Debug, Serialize)]
pub(crate) struct OfReceiver {
    pub name: String,
    pub site: String,
    pub taken: u64,
    pub asked: u64,
    /// A second, over the time it was sent to.
    pub achieved: f64,
    /// What the policy allows, and what the receiver takes.
    pub allowed: String,
    pub takes: Option<String>,
    pub most_in_a_second: usize,
    pub most_connections: u32,
    pub refused_as_too_fast: u64,
    /// How often what it is given changed.
    pub changes: u32,
    /// What it is given at the end.
    pub rate_now: String,
}

impl Report {
    pub(super) fn of(world: &World) -> Self {
        let count =
            |state: State| world.messages.iter().filter(|message| message.state == state).count() as u64;
        let mut waits = world.waits_us.clone();
        waits.sort_unstable();
        let at = |share: f64| {
            let nth = ((waits.len() as f64 * share) as usize).min(waits.len().saturating_sub(1));
            waits.get(nth).map_or(0.0, |ms| f64::from(*ms) / 1e3)
        };
        let mut passed = Vec::new();
        let both = world.receivers.iter().zip(&world.sites);
        let receivers = both
            .map(|(receiver, site)| {
                let now = world.at(world.ended_at);
                let limit = site.limits.rate.value.a_second();
                if receiver.most_in_a_second as f64 > limit.ceil() {
                    passed.push(format!(
                        "{}: {} in a second, {} allowed",
                        receiver.is.name, receiver.most_in_a_second, site.limits.rate.value
                    ));
                }
                if receiver.most_open > site.limits.connections.value {
                    passed.push(format!(
                        "{}: {} connections, {} allowed",
                        receiver.is.name, receiver.most_open, site.limits.connections.value
                    ));
                }
                let lasted = (receiver.last - receiver.first.unwrap_or(receiver.last)) as f64 / 1e6;
                OfReceiver {
                    name: receiver.is.name.clone(),
                    site: site.name.to_string(),
                    taken: receiver.taken,
                    asked: receiver.asked,
                    achieved: if lasted > 0.0 { receiver.asked as f64 / lasted } else { 0.0 },
                    allowed: site.limits.rate.value.to_string(),
                    takes: receiver.is.rate.map(|rate| rate.to_string()),
                    most_in_a_second: receiver.most_in_a_second,
                    most_connections: receiver.most_open,
                    refused_as_too_fast: receiver.over_limit,
                    changes: site.slowed,
                    rate_now: posthaste_policy::standing::rate_shown(
                        site.standing.allowed(&site.limits, None, now).a_second,
                    ),
                }
            })
            .collect();
        Self {
            title: world.scenario.title.clone(),
            seed: world.scenario.seed,
            messages: world.messages.len() as u64,
            delivered: count(State::Delivered),
            bounced: count(State::Bounced),
            expired: count(State::Expired),
            waiting: count(State::Waiting),
            copies: world.copies,
            attempts: world.attempts,
            drained_s: world.ended_at as f64 / 1e6,
            delivered_in: Percentiles { p50: at(0.5), p95: at(0.95), p99: at(0.99), most: at(1.0) },
            receivers,
            answers: world.categories.clone(),
            queue: world.samples.clone(),
            dollars: world.requests.dollars(),
            requests: world.requests.clone(),
            passed,
        }
    }
}
