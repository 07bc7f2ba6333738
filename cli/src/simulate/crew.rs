//! One worker at one receiver: what it has in hand, its connections and tokens. It asks and waits as deliveries do.

use std::collections::VecDeque;

use posthaste_mail::{Lane, Stage, Timestamp};
use posthaste_policy::Verdict;
use posthaste_policy::pacing::book::{TokenAsk, Tokens, makes_room};
use posthaste_policy::pacing::{
    Micros, Pace, Purse, REACH_BULK, REACH_TRANSACTIONAL, chunk, interval_us, spendable,
};
use posthaste_policy::standing::{Allowed, Standing};

use super::lines::Line;
use super::queue::HIDDEN;
use super::receiver::Answer;
use super::world::{BEGINNING, Event, Job, State, World, micros};

/// As in delivery: a standing is read again after this …
const VIEW_AGE_MAX: i64 = 2_000_000;
/// … and tokens further off than this are not waited for.
const TOKEN_WAIT_MAX: i64 = 5_000_000;
/// A connection that stays idle so long is closed where all there may be are taken.
const IDLE_FOR: i64 = 1_000_000;

/// See the module.
#[derive(Default)]
pub(super) struct Crew {
    pub(super) urgent: VecDeque<Job>,
    pub(super) bulk: VecDeque<Job>,
    pub(super) lines: Vec<Line>,
    purses: [Option<Purse>; 2],
    standing: Option<(i64, Standing)>,
    pub(super) full_until: i64,
    pub(super) room: u32,
    pub(super) room_until: i64,
    pub(super) next_line: u32,
    pub(super) slot: i64,
    look_at: Option<i64>,
}

impl Crew {
    /// Another worker stands in its place: its connections have other names.
    pub(super) fn forget(&mut self) {
        *self = Self { next_line: self.next_line, ..Self::default() };
    }
}

impl World {
    pub(super) fn crew(&mut self, worker: u16, receiver: u16) -> &mut Crew {
        &mut self.crews[usize::from(worker)][usize::from(receiver)]
    }

    /// What a worker takes to be allowed.
    pub(super) fn allowed(&mut self, worker: u16, receiver: u16) -> Allowed {
        let now = self.now;
        let site = &self.sites[usize::from(receiver)];
        let crew = &mut self.crews[usize::from(worker)][usize::from(receiver)];
        if crew.standing.as_ref().is_none_or(|(read, _)| now - read >= VIEW_AGE_MAX) {
            crew.standing = Some((now, site.standing.clone()));
            self.requests.viewed();
        }
        let at = Timestamp(BEGINNING + (now + self.skew[usize::from(worker)]).div_euclid(1_000));
        match &crew.standing {
            Some((_, standing)) => standing.allowed(&site.limits, None, at),
            None => site.standing.allowed(&site.limits, None, at),
        }
    }

    /// A worker looks again then, if it does not do so before.
    pub(super) fn look_in(&mut self, worker: u16, receiver: u16, wait: i64) {
        let at = self.now + wait;
        let crew = self.crew(worker, receiver);
        if crew.look_at.is_none_or(|known| at < known) {
            crew.look_at = Some(at);
            self.after(wait, Event::Look { worker, receiver });
        }
    }

    /// The time for which a look was meant has come; one that was meant for later follows by itself.
    pub(super) fn looks(&mut self, worker: u16, receiver: u16) {
        let now = self.now;
        let crew = self.crew(worker, receiver);
        if crew.look_at.is_some_and(|at| at <= now) {
            crew.look_at = None;
            self.look(worker, receiver);
        }
    }

    /// A worker does what it can with what it has in hand.
    pub(super) fn look(&mut self, worker: u16, receiver: u16) {
        if self.asleep_until[usize::from(worker)] > self.now {
            let wait = self.asleep_until[usize::from(worker)] - self.now;
            return self.look_in(worker, receiver, wait);
        }
        self.renew(worker, receiver);
        loop {
            let crew = self.crew(worker, receiver);
            let Some((message, _)) = crew.urgent.front().or(crew.bulk.front()).copied() else { break };
            let lane = self.lane(message);
            let Some(line) = self.free_line(worker, receiver, lane) else { return };
            let leave = self.leave(worker, receiver, lane);
            let crew = self.crew(worker, receiver);
            match leave {
                Leave::At(at) => {
                    let Some(job) = crew.urgent.pop_front().or_else(|| crew.bulk.pop_front()) else { return };
                    self.after(at - self.now, Event::Send { worker, receiver, line, job });
                }
                Leave::Soon(wait) => {
                    self.set_free(worker, receiver, line);
                    return self.look_in(worker, receiver, wait);
                }
                Leave::Back(least) => {
                    let job = crew.urgent.pop_front().or_else(|| crew.bulk.pop_front());
                    self.set_free(worker, receiver, line);
                    let allowed = self.allowed(worker, receiver);
                    if let Some((message, _)) = job {
                        self.wait(worker, message, &allowed, least);
                    }
                }
            }
        }
        // Nothing in hand: connections that stay idle make room for others.
        let now = self.now;
        self.hang_up(worker, receiver, |line| !line.busy && now - line.idle_since >= IDLE_FOR);
        let idle = self.crew(worker, receiver).lines.iter().any(|line| !line.busy);
        if idle {
            self.look_in(worker, receiver, IDLE_FOR);
        }
    }

    pub(super) fn in_hand(&mut self, worker: u16, receiver: u16) -> Vec<Job> {
        let crew = self.crew(worker, receiver);
        crew.urgent.drain(..).chain(crew.bulk.drain(..)).collect()
    }

    pub(super) fn give_back(&mut self, worker: u16, receiver: u16, allowed: &Allowed, least: i64) {
        for (message, _) in self.in_hand(worker, receiver) {
            self.wait(worker, message, allowed, least);
        }
    }

    pub(super) fn fail_all(&mut self, worker: u16, receiver: u16, verdict: &Verdict, stage: Stage) {
        let jobs = self.in_hand(worker, receiver);
        self.signal(worker, receiver, verdict, stage);
        for (message, seq) in jobs {
            let there = &self.messages[message as usize];
            if there.state == State::Waiting && there.seq == seq && !there.claimed {
                self.settle(message, verdict);
            }
        }
    }

    /// When a worker may begin its next transaction; else when to ask again.
    fn leave(&mut self, worker: u16, receiver: u16, lane: Lane) -> Leave {
        let allowed = self.allowed(worker, receiver);
        let (now, clock) = (self.now, self.clock(worker));
        let pace = Pace {
            interval_us: interval_us(allowed.a_second),
            burst: self.sites[usize::from(receiver)].limits.burst.value,
            reach: if lane == Lane::Transactional { REACH_TRANSACTIONAL } else { REACH_BULK },
        };
        if pace.interval_us == 0 {
            return Leave::At(now);
        }
        let real = |at: Micros| now + (at.0 - clock.0).max(0);
        let nth = usize::from(lane == Lane::Bulk);
        let crew = &mut self.crews[usize::from(worker)][usize::from(receiver)];
        if crew.purses[nth].is_some_and(|purse| purse.interval_us() < pace.interval_us) {
            crew.purses[nth] = None;
        }
        if let Some(at) = crew.purses[nth].as_mut().and_then(|purse| purse.reserve(clock, 1)) {
            return Leave::At(real(at));
        }
        let waiting = if nth == 0 { crew.urgent.len() } else { crew.bulk.len() };
        // No more than can be spent in time: what a connection is too slow for, or closes before, would be void.
        let most = self.receivers[usize::from(receiver)].is.messages_per_connection.unwrap_or(u32::MAX);
        let most = most.min(allowed.messages_per_connection);
        let latency = micros(self.receivers[usize::from(receiver)].is.latency).max(1);
        let crew = &mut self.crews[usize::from(worker)][usize::from(receiver)];
        let lines = u32::try_from(crew.lines.len()).unwrap_or(1).max(1);
        let left: u32 = crew.lines.iter().map(|line| most.saturating_sub(line.sent)).sum();
        let spendable = spendable(lines, left, latency, pace.interval_us);
        let more = u32::try_from(waiting).unwrap_or(u32::MAX).min(spendable).max(1);
        let epoch = crew.standing.as_ref().map_or(0, |(_, standing)| standing.epoch);
        let ask = TokenAsk { tokens: chunk(pace.interval_us).min(more), pace, epoch, now: clock };
        self.requests.paced();
        match self.sites[usize::from(receiver)].book.tokens(&ask) {
            Tokens::Granted { grant, wanted } => {
                let crew = &mut self.crews[usize::from(worker)][usize::from(receiver)];
                if makes_room(wanted, clock) {
                    crew.room += 1;
                    crew.room_until = now + 1_500_000;
                }
                let purse = crew.purses[nth].insert(Purse::new(grant));
                purse.reserve(clock, 1).map(real).map_or(Leave::Soon(1_000), Leave::At)
            }
            Tokens::Stale => {
                crew_forgets(&mut self.crews[usize::from(worker)][usize::from(receiver)]);
                self.leave(worker, receiver, lane)
            }
            Tokens::Later(at) if at.0 - clock.0 > TOKEN_WAIT_MAX => Leave::Back(real(at)),
            // Waited for with the connection in hand.
            Tokens::Later(at) => Leave::Soon((at.0 - clock.0).max(1_000)),
        }
    }

    pub(super) fn send(&mut self, worker: u16, receiver: u16, line: u32, job: Job) {
        let (message, seq) = job;
        let asleep = self.asleep_until[usize::from(worker)];
        let there = self.crew(worker, receiver).lines.iter().any(|open| open.id == line);
        if !there {
            // Its worker died: the job comes again when its hiding ends.
            return self.after(HIDDEN, Event::Ready(message, seq));
        }
        if asleep > self.now {
            // It slept over its time: its tokens are void, and it asks for others when it wakes.
            self.set_free(worker, receiver, line);
            let lane = self.lane(message);
            let crew = self.crew(worker, receiver);
            if lane == Lane::Transactional {
                crew.urgent.push_front(job)
            } else {
                crew.bulk.push_front(job)
            }
            return self.look_in(worker, receiver, asleep - self.now);
        }
        let there = &mut self.messages[message as usize];
        if there.state != State::Waiting || there.seq != seq || there.claimed {
            // The claim says no: another job has it, or it is over.
            self.set_free(worker, receiver, line);
            return self.look(worker, receiver);
        }
        there.claimed = true;
        let now = self.now;
        let fate = fate(message, self.scenario.seed);
        let seen = Some(self.messages[message as usize].seen).filter(|seen| *seen > 0);
        let answer = self.receivers[usize::from(receiver)].mail(now, seen, fate, &mut self.chance);
        let there = &mut self.messages[message as usize];
        there.seen = seen.unwrap_or(now.max(1));
        self.attempts += 1;
        self.requests.tried();
        let latency = micros(self.receivers[usize::from(receiver)].is.latency);
        self.after(latency, Event::Done { worker, receiver, line, message, answer: answer as u8 });
    }

    pub(super) fn done(&mut self, worker: u16, receiver: u16, line: u32, message: u32, answer: u8) {
        let Some(verdict) = self.verdicts.get(&answer).cloned() else { return };
        let now = self.now;
        let crew = self.crew(worker, receiver);
        let Some(open) = crew.lines.iter_mut().find(|open| open.id == line) else {
            // Its worker died before it could settle: what was taken is sent again, and is there twice.
            self.copies += u64::from(answer == Answer::Taken as u8);
            let there = &mut self.messages[message as usize];
            there.claimed = false;
            let seq = there.seq;
            return self.after(HIDDEN, Event::Ready(message, seq));
        };
        open.sent += 1;
        open.busy = false;
        open.idle_since = now;
        let stage = if answer == Answer::TooFast as u8 { Stage::Mail } else { Stage::Rcpt };
        self.signal(worker, receiver, &verdict, stage);
        self.settle(message, &verdict);
        self.look(worker, receiver);
    }
}

enum Leave {
    At(i64),
    Soon(i64),
    Back(i64),
}

fn crew_forgets(crew: &mut Crew) {
    crew.standing = None;
}

/// What becomes of one mailbox, the same at each try.
fn fate(message: u32, seed: u64) -> f64 {
    super::chance::Chance::new(seed ^ (u64::from(message) << 20)).unit()
}
