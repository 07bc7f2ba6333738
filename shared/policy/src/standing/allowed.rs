//! What a standing allows now.

use std::time::Duration;

use posthaste_mail::{Domain, Timestamp};

use super::react::{DOUBLES_EVERY, GROWS_EVERY, GROWTH_STEP};
use super::{Closed, Growth, Speed, Standing};
use crate::builtin;
use crate::limits::Limits;
use crate::pacing::line::{self, Outlook};

/// Whoever waits for a receiver that is closed looks again after this: an operator may have opened it.
pub const LOOK_AGAIN: Duration = Duration::from_secs(3_600);
/// Whoever waits for one that an operator has closed looks again after this.
pub const LOOK_AGAIN_ORDERED: Duration = Duration::from_secs(14 * 60);

/// What a receiver is given now.
#[derive(Debug, Clone, PartialEq)]
pub struct Allowed {
    /// Recipients a second; infinite without limit.
    pub a_second: f64,
    /// Of the sending domain alone, beneath that; infinite where it is not treated apart.
    pub sender_a_second: f64,
    /// Connections at once.
    pub connections: u32,
    /// Transactions on one connection.
    pub messages_per_connection: u32,
    /// Recipients in one transaction: where the receiver's rate is known, never more than a second's worth of it, since
    /// a transaction leaves at once.
    pub recipients_per_message: u32,
    /// Whether anything is sent at all.
    pub gate: Gate,
    /// The rate that whoever waits reckons with.
    pub outlook: Outlook,
}

/// Whether anything is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    Open,
    /// One message may try, if it is the first to write that it does: [`Standing::probing`].
    Probe,
    /// Not before then.
    Closed {
        /// When to ask again.
        until: Timestamp,
        /// Why.
        why: String,
    },
}

impl Standing {
    /// What mail of a sending domain is given now, under these limits of the policy.
    pub fn allowed(&self, limits: &Limits, sender: Option<&Domain>, now: Timestamp) -> Allowed {
        let order = self.order.as_ref().filter(|order| order.until.is_none_or(|until| now < until));
        let apart = sender.and_then(|sender| self.senders.get(sender));
        let a_second = match order.and_then(|order| order.rate) {
            Some(rate) => rate.a_second(),
            None => self.speed(limits).map_or(ceiling(limits), |speed| speed.a_second.min(ceiling(limits))),
        };
        let connections = match order.and_then(|order| order.connections) {
            Some(connections) => connections,
            None => self.connections(limits, a_second, now),
        };
        let ordered = order.is_some_and(|order| order.rate.is_some());
        let outlook = match self.speed(limits).filter(|_| !ordered) {
            None => Outlook { a_second, top: a_second, growth: line::Growth::Steady },
            Some(speed) => Outlook {
                a_second,
                top: ceiling(limits).max(a_second),
                growth: match speed.growth {
                    Growth::Doubling => line::Growth::Doubling(DOUBLES_EVERY),
                    Growth::Additive => {
                        let top = ceiling(limits).min(builtin::RATE_CEILING.a_second().max(a_second));
                        line::Growth::By(top * GROWTH_STEP / GROWS_EVERY.as_secs_f64())
                    }
                },
            },
        };
        let whole = limits.rate.value.interval_us() > 0 && limits.start.value.is_none();
        let at_once = if whole { (a_second.floor() as u32).max(1) } else { u32::MAX };
        Allowed {
            a_second,
            sender_a_second: apart.and_then(|apart| apart.rate).map_or(f64::INFINITY, |rate| rate.a_second),
            connections: connections.max(1),
            messages_per_connection: learnt(
                self.messages_per_connection,
                limits.messages_per_connection.value,
            ),
            recipients_per_message: learnt(self.recipients_per_message, limits.recipients_per_message.value)
                .min(at_once),
            outlook: outlook
                .at_most(apart.and_then(|apart| apart.rate).map_or(f64::INFINITY, |rate| rate.a_second)),
            gate: match order.filter(|order| order.suspended) {
                Some(order) => Gate::Closed {
                    until: order.until.unwrap_or(Timestamp::NEVER).min(now.plus(LOOK_AGAIN_ORDERED)),
                    why: order.note.clone().unwrap_or_else(|| "suspended by an operator".to_owned()),
                },
                None => gate(self.closed.as_ref(), apart.and_then(|apart| apart.closed.as_ref()), now),
            },
        }
    }

    /// The rate it has by itself; none: the policy's, from the first message.
    pub(super) fn speed(&self, limits: &Limits) -> Option<Speed> {
        self.rate.or_else(|| {
            let start = limits.start.value?;
            Some(Speed { a_second: start.a_second(), since: Timestamp::default(), growth: Growth::Doubling })
        })
    }

    fn connections(&self, limits: &Limits, a_second: f64, now: Timestamp) -> u32 {
        let all = limits.connections.value;
        let growing = limits.start.value.is_some() && a_second < ceiling(limits);
        let grown = if growing {
            let share = a_second / ceiling(limits);
            ((f64::from(all) * share).ceil() as u32).max(builtin::CONNECTIONS_START).min(all)
        } else {
            all
        };
        match self.fewer_connections {
            Some(fewer) if now < fewer.until => grown.min(fewer.connections),
            _ => grown,
        }
    }

    /// The standing with a probe on its way, if one may go.
    pub fn probing(&self, sender: Option<&Domain>, now: Timestamp) -> Option<Standing> {
        let mut next = self.changed(now);
        let mut any = false;
        let apart = sender.and_then(|sender| next.senders.get_mut(sender));
        for closed in next.closed.iter_mut().chain(apart.and_then(|apart| apart.closed.as_mut())) {
            match gate_of(closed, now) {
                Gate::Probe => {
                    closed.probed = Some(now);
                    any = true;
                }
                Gate::Open => {}
                Gate::Closed { .. } => return None,
            }
        }
        any.then_some(next)
    }

    pub(super) fn changed(&self, now: Timestamp) -> Standing {
        Standing { epoch: self.epoch + 1, at: now, ..self.clone() }
    }
}

/// The highest rate; one that has to be cut where there is no limit is cut from what the default allows.
pub(super) fn ceiling(limits: &Limits) -> f64 {
    limits.rate.value.a_second()
}

fn learnt(learnt: Option<u32>, limit: u32) -> u32 {
    learnt.unwrap_or(limit).min(limit).max(1)
}

fn gate(site: Option<&Closed>, sender: Option<&Closed>, now: Timestamp) -> Gate {
    let gates = [site, sender].map(|closed| closed.map_or(Gate::Open, |closed| gate_of(closed, now)));
    match gates {
        [closed @ Gate::Closed { .. }, _] | [_, closed @ Gate::Closed { .. }] => closed,
        [Gate::Probe, _] | [_, Gate::Probe] => Gate::Probe,
        [Gate::Open, Gate::Open] => Gate::Open,
    }
}

fn gate_of(closed: &Closed, now: Timestamp) -> Gate {
    let shut =
        |until: Timestamp| Gate::Closed { until: until.min(now.plus(LOOK_AGAIN)), why: closed.why.clone() };
    match closed.probe_every {
        None if now < closed.until => shut(closed.until),
        None => Gate::Open,
        Some(every) => {
            let next = closed.probed.unwrap_or(closed.since).max(closed.since).plus(every);
            if now < next { shut(next) } else { Gate::Probe }
        }
    }
}
