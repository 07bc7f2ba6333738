//! One worker at one receiver: what it has in hand, its connections and tokens. It asks and waits as deliveries do.

use std::collections::VecDeque;
use std::time::Duration;

use posthaste_mail::{Lane, Stage, Timestamp};
use posthaste_policy::Verdict;
use posthaste_policy::pacing::book::{TokenAsk, Tokens, makes_room};
use posthaste_policy::pacing::line::{BELIEVED, NEAR, turn_in};
use posthaste_policy::pacing::seats::{Seat, SeatAsk, Urgency};
use posthaste_policy::pacing::{
    HEADROOM, Micros, Pace, Purse, REACH_BULK, REACH_TRANSACTIONAL, chunk, interval_us, spendable,
};
use posthaste_policy::retry::{Age, End, Next, next};
use posthaste_policy::standing::{Allowed, Gate, Signal, SignalOf, Standing};

use super::receiver::{Answer, Door};
use super::world::{BEGINNING, Event, Job, NO_TICKET, State, World, micros};

/// As in delivery: a standing is read again after this …
const VIEW_AGE_MAX: i64 = 2_000_000;
/// … more than this is not kept in hand …
const QUEUE_WAIT_MAX: f64 = 20.0;
/// … longer than this a queue keeps nothing …
const DELAY_MAX: i64 = 900_000_000;
/// … tokens further off than this are not waited for …
const TOKEN_WAIT_MAX: i64 = 5_000_000;
/// … and who finds all connections taken asks again after this, and up to as much again.
const FULL_FOR: i64 = 700_000;
/// A lease is renewed this often.
const RENEWED_EVERY: i64 = 20_000_000;
/// A connection that stays idle so long is closed where all there may be are taken.
const IDLE_FOR: i64 = 1_000_000;
/// A worker that died is another one after this; its jobs come again when their hiding ends.
const HIDDEN: i64 = 90_000_000;

/// One connection.
struct Line {
    id: u32,
    who: String,
    sent: u32,
    busy: bool,
    idle_since: i64,
    /// Renewed then.
    renewed: i64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Crew {
    urgent: VecDeque<Job>,
    bulk: VecDeque<Job>,
    lines: Vec<Line>,
    purses: [Option<Purse>; 2],
    standing: Option<(i64, Standing)>,
    full_until: i64,
    room_until: i64,
    next_line: u32,
    slot: i64,
}

impl World {
    fn lane(&self, message: u32) -> Lane {
        self.scenario.mail[usize::from(self.messages[message as usize].mail)].lane
    }

    fn crew(&mut self, worker: u16, receiver: u16) -> &mut Crew {
        &mut self.crews[usize::from(worker)][usize::from(receiver)]
    }

    /// A worker's own time.
    fn clock(&self, worker: u16) -> Micros {
        Micros(BEGINNING * 1_000 + self.now + self.skew[usize::from(worker)])
    }

    /// What a worker takes to be allowed.
    fn allowed(&mut self, worker: u16, receiver: u16) -> Allowed {
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

    fn expires(&self, message: u32) -> i64 {
        let there = &self.messages[message as usize];
        there.accepted.saturating_add(micros(self.policy.retry(self.lane(message)).expire_after))
    }

    fn probes(&mut self, receiver: u16) -> bool {
        let now = self.at(self.now);
        let site = &mut self.sites[usize::from(receiver)];
        let Some(probing) = site.standing.probing(None, now) else { return false };
        site.standing = probing;
        site.book.epoch = site.standing.epoch;
        self.requests.paced();
        true
    }

    fn in_line(&self, message: u32, allowed: &Allowed) -> Option<Duration> {
        let there = &self.messages[message as usize];
        let (lane, tenant) = (self.lane(message), self.tenant_of[usize::from(there.mail)]);
        let lines = &self.sites[usize::from(there.receiver)].lines;
        let others = lines.iter().filter(|(key, line)| line.waiting() > 0 && **key != (lane, tenant));
        let ticket = (there.ticket != NO_TICKET).then_some(u64::from(there.ticket));
        let others = others.map(|((lane, _), _)| *lane);
        turn_in(lines.get(&(lane, tenant)), ticket, lane, others, allowed.a_second)
    }

    /// A job waits in line, and not less than until `least`.
    fn wait(&mut self, worker: u16, message: u32, allowed: &Allowed, least: i64) {
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
        let spread = (self.chance.unit() * 1e6) as i64;
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

    fn come_back(&mut self, message: u32, due: i64) {
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

    /// A worker does what it can with what it has in hand.
    pub(super) fn look(&mut self, worker: u16, receiver: u16) {
        if self.asleep_until[usize::from(worker)] > self.now {
            let wait = self.asleep_until[usize::from(worker)] - self.now;
            return self.after(wait, Event::Look { worker, receiver });
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
                    return self.after(wait, Event::Look { worker, receiver });
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
            self.after(IDLE_FOR, Event::Look { worker, receiver });
        }
    }

    /// Keeps the leases of a worker's connections; one that lapsed meanwhile is closed.
    fn renew(&mut self, worker: u16, receiver: u16) {
        let (now, clock) = (self.now, self.clock(worker));
        let max = self.sites[usize::from(receiver)].limits.connections.value;
        let crew = &mut self.crews[usize::from(worker)][usize::from(receiver)];
        let mut lost = Vec::new();
        for line in crew.lines.iter_mut().filter(|line| now - line.renewed > RENEWED_EVERY) {
            line.renewed = now;
            self.requests.paced();
            let ask =
                SeatAsk { who: line.who.clone(), max, opening_us: 0, urgency: Urgency::Usual, now: clock };
            if !matches!(self.sites[usize::from(receiver)].book.sit(&ask), Seat::Taken(_)) {
                lost.push(line.id);
            }
        }
        self.hang_up(worker, receiver, |line| !line.busy && lost.contains(&line.id));
    }

    fn set_free(&mut self, worker: u16, receiver: u16, id: u32) {
        let crew = self.crew(worker, receiver);
        if let Some(line) = crew.lines.iter_mut().find(|line| line.id == id) {
            line.busy = false;
        }
    }

    fn hang_up(&mut self, worker: u16, receiver: u16, which: impl Fn(&Line) -> bool) {
        let crew = &mut self.crews[usize::from(worker)][usize::from(receiver)];
        let (gone, kept): (Vec<Line>, Vec<Line>) = crew.lines.drain(..).partition(|line| which(line));
        crew.lines = kept;
        for line in gone {
            self.sites[usize::from(receiver)].book.seats.give_back(&line.who);
            self.receivers[usize::from(receiver)].open -= 1;
            self.requests.paced();
        }
    }

    /// A connection to send over, taken; none: what was in hand was given back, or waits for one that is busy.
    fn free_line(&mut self, worker: u16, receiver: u16, lane: Lane) -> Option<u32> {
        let allowed = self.allowed(worker, receiver);
        let now = self.now;
        let most = self.receivers[usize::from(receiver)].is.messages_per_connection.unwrap_or(u32::MAX);
        let most = most.min(allowed.messages_per_connection);
        let makes_room = lane == Lane::Bulk && now < self.crew(worker, receiver).room_until;
        self.hang_up(worker, receiver, |line| !line.busy && (line.sent >= most || makes_room));
        let crew = self.crew(worker, receiver);
        if let Some(line) = crew.lines.iter_mut().find(|line| !line.busy) {
            line.busy = true;
            return Some(line.id);
        }
        if crew.lines.len() >= allowed.connections as usize {
            return None;
        }
        match self.open_line(worker, receiver, lane, &allowed) {
            Opened::Line(id) => Some(id),
            Opened::Soon => None,
            Opened::Later(at) => {
                if self.crew(worker, receiver).lines.is_empty() {
                    self.give_back(worker, receiver, &allowed, at);
                }
                None
            }
            Opened::Failed(verdict, stage) => {
                self.fail_all(worker, receiver, &verdict, stage);
                None
            }
        }
    }

    fn open_line(&mut self, worker: u16, receiver: u16, lane: Lane, allowed: &Allowed) -> Opened {
        let (now, clock) = (self.now, self.clock(worker));
        let crew = &mut self.crews[usize::from(worker)][usize::from(receiver)];
        if now < crew.full_until {
            return Opened::Later(crew.full_until);
        }
        crew.next_line += 1;
        let id = crew.next_line;
        let site = &mut self.sites[usize::from(receiver)];
        let ask = SeatAsk {
            who: format!("{worker}-{id}"),
            max: allowed.connections,
            opening_us: interval_us(site.limits.connection_rate.value.a_second()),
            urgency: if lane == Lane::Transactional { Urgency::Urgent } else { Urgency::Usual },
            now: clock,
        };
        self.requests.paced();
        match site.book.sit(&ask) {
            Seat::Taken(_) => {}
            Seat::TooSoon(at) => {
                self.after((at.0 - clock.0).max(1), Event::Look { worker, receiver });
                return Opened::Soon;
            }
            Seat::Full(_) | Seat::Leave => {
                let until = now + FULL_FOR + (self.chance.unit() * FULL_FOR as f64) as i64;
                self.crew(worker, receiver).full_until = until;
                return Opened::Later(until);
            }
        }
        match self.receivers[usize::from(receiver)].connect(now) {
            Door::Open => {
                let line = Line { id, who: ask.who, sent: 0, busy: true, idle_since: now, renewed: now };
                self.crew(worker, receiver).lines.push(line);
                Opened::Line(id)
            }
            Door::Nobody => {
                self.sites[usize::from(receiver)].book.seats.give_back(&ask.who);
                Opened::Failed(self.network.clone(), Stage::Connect)
            }
            Door::TooMany => {
                self.receivers[usize::from(receiver)].open -= 1;
                self.sites[usize::from(receiver)].book.seats.give_back(&ask.who);
                Opened::Failed(self.too_many_connections.clone(), Stage::Banner)
            }
        }
    }

    fn in_hand(&mut self, worker: u16, receiver: u16) -> Vec<Job> {
        let crew = self.crew(worker, receiver);
        crew.urgent.drain(..).chain(crew.bulk.drain(..)).collect()
    }

    fn give_back(&mut self, worker: u16, receiver: u16, allowed: &Allowed, least: i64) {
        for (message, _) in self.in_hand(worker, receiver) {
            self.wait(worker, message, allowed, least);
        }
    }

    fn fail_all(&mut self, worker: u16, receiver: u16, verdict: &Verdict, stage: Stage) {
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
                    crew.room_until = now + 3_000_000;
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
            return self.after(asleep - self.now, Event::Look { worker, receiver });
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

    /// Tells a receiver's standing.
    fn signal(&mut self, worker: u16, receiver: u16, verdict: &Verdict, stage: Stage) {
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
    fn settle(&mut self, message: u32, verdict: &Verdict) {
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

    fn leave_line(&mut self, message: u32, lane: Lane) {
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

    fn end(&mut self, message: u32, state: State) {
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
            let next_line = crew.next_line;
            *crew = Crew { next_line, ..Crew::default() };
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

enum Leave {
    At(i64),
    Soon(i64),
    Back(i64),
}

enum Opened {
    Line(u32),
    /// Looked at again then.
    Soon,
    Later(i64),
    Failed(Verdict, Stage),
}

fn crew_forgets(crew: &mut Crew) {
    crew.standing = None;
}

/// What becomes of one mailbox, the same at each try.
fn fate(message: u32, seed: u64) -> f64 {
    super::chance::Chance::new(seed ^ (u64::from(message) << 20)).unit()
}
