//! What becomes of messages, and of those who send them.

use std::time::Duration;

use posthaste_mail::{Lane, Stage};
use posthaste_policy::Verdict;
use posthaste_policy::pacing::Micros;
use posthaste_policy::retry::{Age, End, Next, next};
use posthaste_policy::standing::{Signal, SignalOf};

use super::queue::HIDDEN;
use super::world::{BEGINNING, Event, NO_TICKET, State, World, micros};

impl World {
    /// Tells a receiver's standing.
    pub(super) fn signal(&mut self, worker: u16, receiver: u16, verdict: &Verdict, stage: Stage) {
        let now = self.at(self.now + self.skew[usize::from(worker)]);
        let site = &mut self.sites[usize::from(receiver)];
        let of = if verdict.action == posthaste_policy::Action::Deliver {
            SignalOf::Delivered { recipients: 1 }
        } else {
            let code = if verdict.action == posthaste_policy::Action::Bounce { 550 } else { 451 };
            SignalOf::Refused {
                verdict,
                stage,
                code: Some(code).filter(|_| stage > Stage::Connect),
                text: "as the scenario says",
                named_wait: None,
                messages: 1,
                accepted: 0,
            }
        };
        let (name, domain) = (site.name.clone(), site.domain.clone());
        let signal = Signal { of, site: &name, domain: &domain, sender: None, now };
        if let Some(reacted) = site.standing.react(&signal, &site.limits, &self.policy) {
            site.slowed += u32::from(!reacted.changes.is_empty());
            site.book.epoch = reacted.standing.epoch;
            site.standing = reacted.standing;
            self.requests.paced();
        }
    }

    /// What becomes of a message, by the retry policy.
    pub(super) fn settle(&mut self, message: u32, verdict: &Verdict) {
        let (now, lane) = (self.now, self.lane(message));
        let left = Duration::from_micros((self.expires(message) - now).max(0).unsigned_abs());
        self.leave_line(message, lane);
        *self.categories.entry(format!("{} {}", verdict.action, verdict.category)).or_default() += 1;
        let there = &mut self.messages[message as usize];
        there.claimed = false;
        match verdict.action {
            posthaste_policy::Action::Slow => there.throttles = there.throttles.saturating_add(1),
            _ => (there.tries, there.throttles) = (there.tries.saturating_add(1), 0),
        }
        let age = Age { attempts: u32::from(there.tries), throttles: u32::from(there.throttles), left };
        let jitter = self.chance.unit();
        match next(verdict, age, self.policy.retry(lane), jitter, None) {
            Next::Done(End::Delivered) => self.end(message, State::Delivered),
            Next::Done(End::Bounced) => self.end(message, State::Bounced),
            Next::GiveUp => self.end(message, State::Expired),
            Next::RetryIn(wait) => self.come_back(message, now + micros(wait)),
        }
    }

    pub(super) fn leave_line(&mut self, message: u32, lane: Lane) {
        let clock = Micros(BEGINNING * 1_000 + self.now);
        let there = &mut self.messages[message as usize];
        if there.ticket != NO_TICKET {
            there.ticket = NO_TICKET;
            let tenant = self.tenant_of[usize::from(there.mail)];
            let lines = &mut self.sites[usize::from(there.receiver)].lines;
            if let Some(line) = lines.get_mut(&(lane, tenant)) {
                line.serve(1, clock);
            }
        }
    }

    pub(super) fn end(&mut self, message: u32, state: State) {
        let lane = self.lane(message);
        self.leave_line(message, lane);
        let there = &mut self.messages[message as usize];
        if there.state == State::Waiting {
            there.state = state;
            if state == State::Delivered {
                self.waits_us.push(u32::try_from((self.now - there.accepted) / 1_000).unwrap_or(u32::MAX));
            }
            self.open -= 1;
            self.ended_at = self.now;
        }
    }

    pub(super) fn crash(&mut self) {
        let worker = self.chance.below(self.scenario.workers.count) as u16;
        for receiver in 0..self.receivers.len() as u16 {
            let messages = self.in_hand(worker, receiver);
            for (message, seq) in messages {
                self.after(HIDDEN, Event::Ready(message, seq));
            }
            // Its connections are gone at the receiver; their leases lapse by themselves.
            let crew = self.crew(worker, receiver);
            let gone = u32::try_from(crew.lines.len()).unwrap_or(0);
            crew.forget();
            self.receivers[usize::from(receiver)].open -= gone;
        }
        if let Some(every) = self.scenario.workers.crash_every {
            self.after(micros(every), Event::Crash);
        }
    }

    pub(super) fn stall(&mut self) {
        let worker = self.chance.below(self.scenario.workers.count);
        self.asleep_until[worker] = self.now + micros(self.scenario.workers.stall_for);
        if let Some(every) = self.scenario.workers.stall_every {
            self.after(micros(every), Event::Stall);
        }
    }
}
