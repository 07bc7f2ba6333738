//! Jobs that come and go: whose turn it is, and when the others come back. As deliveries do it.

use std::time::Duration;

use posthaste_mail::Lane;
use posthaste_policy::pacing::line::{BELIEVED, NEAR, turn_in};
use posthaste_policy::pacing::{HEADROOM, Micros};
use posthaste_policy::standing::{Allowed, Gate};

use super::world::{BEGINNING, Event, NO_TICKET, State, World, micros};

/// More than this is not kept in hand: seconds.
const QUEUE_WAIT_MAX: f64 = 20.0;
/// Longer than this a queue keeps nothing.
const DELAY_MAX: i64 = 900_000_000;
/// What a dead worker had comes again when its hiding ends.
pub(super) const HIDDEN: i64 = 90_000_000;

impl World {
    pub(super) fn lane(&self, message: u32) -> Lane {
        self.scenario.mail[usize::from(self.messages[message as usize].mail)].lane
    }

    /// A worker's own time.
    pub(super) fn clock(&self, worker: u16) -> Micros {
        Micros(BEGINNING * 1_000 + self.now + self.skew[usize::from(worker)])
    }

    /// A job is due: somebody takes it.
    pub(super) fn ready(&mut self, message: u32, seq: u8) {
        let there = &self.messages[message as usize];
        if there.state != State::Waiting || there.seq != seq {
            return;
        }
        self.requests.came();
        if self.chance.unit() < self.scenario.workers.duplicates {
            let wait = (self.chance.unit() * 60e6) as i64;
            self.after(wait, Event::Ready(message, seq));
        }
        if self.expires(message) <= self.now {
            return self.end(message, State::Expired);
        }
        let receiver = self.messages[message as usize].receiver;
        let worker = self.chance.below(self.scenario.workers.count) as u16;
        if self.asleep_until[usize::from(worker)] > self.now {
            // What a worker that stands still has received is shown to others when its hiding ends.
            return self.after(HIDDEN, Event::Ready(message, seq));
        }
        let allowed = self.allowed(worker, receiver);
        match allowed.gate {
            Gate::Closed { until, .. } => {
                let least = (until.0.saturating_sub(BEGINNING)).saturating_mul(1_000);
                return self.wait(worker, message, &allowed, least);
            }
            Gate::Probe if !self.probes(receiver) => return self.wait(worker, message, &allowed, self.now),
            Gate::Probe | Gate::Open => {}
        }
        let tat = self.sites[usize::from(receiver)].book.tat;
        let is_busy = tat.is_some_and(|tat| tat > self.clock(worker));
        if is_busy && self.in_line(message, &allowed).is_some_and(|wait| wait > NEAR) {
            return self.wait(worker, message, &allowed, self.now);
        }
        let lane = self.lane(message);
        let latency = self.receivers[usize::from(receiver)].is.latency.as_secs_f64().max(1e-3);
        let capacity = (f64::from(allowed.connections) / latency).min(allowed.a_second * HEADROOM).max(1e-6);
        let crew = self.crew(worker, receiver);
        let ahead = crew.urgent.len() + if lane == Lane::Bulk { crew.bulk.len() } else { 0 };
        if ahead as f64 / capacity > QUEUE_WAIT_MAX {
            return self.wait(worker, message, &allowed, self.now);
        }
        match lane {
            Lane::Transactional => crew.urgent.push_back((message, seq)),
            Lane::Bulk => crew.bulk.push_back((message, seq)),
        }
        self.look(worker, receiver);
    }

    pub(super) fn expires(&self, message: u32) -> i64 {
        let there = &self.messages[message as usize];
        there.accepted.saturating_add(micros(self.policy.retry(self.lane(message)).expire_after))
    }

    pub(super) fn probes(&mut self, receiver: u16) -> bool {
        let now = self.at(self.now);
        let site = &mut self.sites[usize::from(receiver)];
        let Some(probing) = site.standing.probing(None, now) else { return false };
        site.standing = probing;
        site.book.epoch = site.standing.epoch;
        self.requests.paced();
        true
    }

    pub(super) fn in_line(&self, message: u32, allowed: &Allowed) -> Option<Duration> {
        let there = &self.messages[message as usize];
        let (lane, tenant) = (self.lane(message), self.tenant_of[usize::from(there.mail)]);
        let lines = &self.sites[usize::from(there.receiver)].lines;
        let others = lines.iter().filter(|(key, line)| line.waiting() > 0 && **key != (lane, tenant));
        let ticket = (there.ticket != NO_TICKET).then_some(u64::from(there.ticket));
        let others = others.map(|((lane, _), line)| (*lane, line.waiting()));
        let latency = self.receivers[usize::from(there.receiver)].is.latency.as_secs_f64().max(1e-3);
        let most = f64::from(self.sites[usize::from(there.receiver)].limits.connections.value) / latency;
        turn_in(lines.get(&(lane, tenant)), ticket, lane, others, &allowed.outlook.at_most(most))
    }

    /// A job waits in line, and not less than until `least`.
    pub(super) fn wait(&mut self, worker: u16, message: u32, allowed: &Allowed, least: i64) {
        let clock = self.clock(worker);
        let there = &self.messages[message as usize];
        let (lane, receiver) = (self.lane(message), there.receiver);
        let tenant = self.tenant_of[usize::from(there.mail)];
        if there.ticket == NO_TICKET {
            let line = self.sites[usize::from(receiver)].lines.entry((lane, tenant)).or_default();
            let ticket = u32::try_from(line.ticket(1, clock)).unwrap_or(NO_TICKET);
            self.messages[message as usize].ticket = ticket;
            self.requests.paced();
        }
        let wait = self.in_line(message, allowed).unwrap_or_default();
        let now = self.now;
        let spread = (self.chance.unit() * 2e6) as i64;
        let turn = if wait <= NEAR && least > now {
            // Its turn has come, and there was no connection for it.
            least + spread
        } else if wait <= NEAR {
            let rate = (allowed.a_second * HEADROOM).max(1e-6);
            let turn = ((1e6 / rate) as i64).clamp(1, DELAY_MAX);
            let crew = self.crew(worker, receiver);
            let first = now + 10_000_000;
            crew.slot = if crew.slot < first || crew.slot >= now + DELAY_MAX { first } else { crew.slot };
            crew.slot += turn;
            crew.slot
        } else {
            now + micros(wait.min(BELIEVED))
        };
        let due = if least > now { turn.max(least + spread) } else { turn };
        self.come_back(message, due);
    }

    pub(super) fn come_back(&mut self, message: u32, due: i64) {
        let due = due.min(self.expires(message));
        if due - self.now > DELAY_MAX {
            self.requests.parked()
        } else {
            self.requests.sent()
        }
        let there = &mut self.messages[message as usize];
        there.seq = there.seq.wrapping_add(1);
        let seq = there.seq;
        self.after(due - self.now, Event::Ready(message, seq));
    }
}
