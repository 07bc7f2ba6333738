//! A worker's connections at one receiver: taken, kept and closed as deliveries do.

use posthaste_mail::{Lane, Stage};
use posthaste_policy::Verdict;
use posthaste_policy::pacing::interval_us;
use posthaste_policy::pacing::seats::{Seat, SeatAsk, Urgency};
use posthaste_policy::standing::Allowed;

use super::receiver::Door;
use super::world::World;

/// Who finds all connections taken asks again after this, and up to as much again, as in delivery.
const FULL_FOR: i64 = 700_000;
/// A lease is renewed this often.
const RENEWED_EVERY: i64 = 20_000_000;

/// One connection.
pub(super) struct Line {
    pub id: u32,
    pub who: String,
    pub sent: u32,
    pub busy: bool,
    pub idle_since: i64,
    /// Renewed then.
    pub renewed: i64,
}

enum Opened {
    Line(u32),
    /// Looked at again then.
    Soon,
    Later(i64),
    Failed(Verdict, Stage),
}

impl World {
    /// Keeps the leases of a worker's connections; one that lapsed meanwhile is closed.
    pub(super) fn renew(&mut self, worker: u16, receiver: u16) {
        let (now, clock) = (self.now, self.clock(worker));
        let max = self.sites[usize::from(receiver)].limits.connections.value;
        let crew = &mut self.crews[usize::from(worker)][usize::from(receiver)];
        let mut lost = Vec::new();
        for line in crew.lines.iter_mut().filter(|line| now - line.renewed > RENEWED_EVERY) {
            line.renewed = now;
            self.requests.paced();
            let ask = SeatAsk {
                who: vec![line.who.clone()],
                max,
                opening_us: None,
                urgency: Urgency::Usual,
                now: clock,
            };
            if !matches!(self.sites[usize::from(receiver)].book.sit(&ask), Seat::Taken(_)) {
                lost.push(line.id);
            }
        }
        self.hang_up(worker, receiver, |line| !line.busy && lost.contains(&line.id));
    }

    pub(super) fn set_free(&mut self, worker: u16, receiver: u16, id: u32) {
        let crew = self.crew(worker, receiver);
        if let Some(line) = crew.lines.iter_mut().find(|line| line.id == id) {
            line.busy = false;
        }
    }

    pub(super) fn hang_up(&mut self, worker: u16, receiver: u16, which: impl Fn(&Line) -> bool) {
        let crew = &mut self.crews[usize::from(worker)][usize::from(receiver)];
        let (gone, kept): (Vec<Line>, Vec<Line>) = crew.lines.drain(..).partition(|line| which(line));
        crew.lines = kept;
        for line in gone {
            self.sites[usize::from(receiver)].book.seats.give_back(std::slice::from_ref(&line.who));
            self.receivers[usize::from(receiver)].open -= 1;
            self.requests.paced();
        }
    }

    /// A connection to send over, taken; none: what was in hand was given back, or waits for one that is busy.
    pub(super) fn free_line(&mut self, worker: u16, receiver: u16, lane: Lane) -> Option<u32> {
        let allowed = self.allowed(worker, receiver);
        let most = self.receivers[usize::from(receiver)].is.messages_per_connection.unwrap_or(u32::MAX);
        let most = most.min(allowed.messages_per_connection);
        self.hang_up(worker, receiver, |line| !line.busy && line.sent >= most);
        if lane == Lane::Bulk && self.crew(worker, receiver).room > 0 {
            let crew = self.crew(worker, receiver);
            let free = crew.lines.iter().find(|line| !line.busy).map(|line| line.id);
            if let Some(free) = free {
                crew.room -= 1;
                self.hang_up(worker, receiver, |line| line.id == free);
            }
        }
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
        let left_to_others = if lane == Lane::Bulk { crew.room_until } else { 0 };
        if now < crew.full_until.max(left_to_others) {
            return Opened::Later(crew.full_until.max(left_to_others));
        }
        crew.next_line += 1;
        let id = crew.next_line;
        let site = &mut self.sites[usize::from(receiver)];
        let name = format!("{worker}-{id}");
        let ask = SeatAsk {
            who: vec![name.clone()],
            max: allowed.connections,
            opening_us: Some(interval_us(site.limits.connection_rate.value.a_second())),
            urgency: if lane == Lane::Transactional { Urgency::Urgent } else { Urgency::Usual },
            now: clock,
        };
        self.requests.paced();
        match site.book.sit(&ask) {
            Seat::Taken(_) => {}
            Seat::TooSoon(at) => {
                self.look_in(worker, receiver, (at.0 - clock.0).max(1));
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
                let line = Line { id, who: name, sent: 0, busy: true, idle_since: now, renewed: now };
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
}
