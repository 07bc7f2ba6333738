//! The jobs that wait in this process for one set of hosts, and who works on them. Only unclaimed jobs stand here,
//! and only as many as will be served soon: the rest waits in its queue, at a time worked out once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_mail::{Lane, Timestamp};
use posthaste_policy::pacing::{HEADROOM, spendable};
use posthaste_policy::standing::Allowed;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::fair::Fair;
use super::way::Way;
use super::{Disposition, locked};
use crate::machine::DELAY_MAX;
use crate::row::Job;

/// A job that would wait longer than this here waits in its queue instead.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(20);
/// What a message is taken to cost a connection before one has been measured.
const SERVICE_GUESS: Duration = Duration::from_millis(200);
/// Claims made ahead of their turn on a fast connection: each saves a wait for the ledger.
const AHEAD_MAX: usize = 16;
/// A connection that serves a message within this is fast.
const FAST: Duration = Duration::from_millis(50);
/// A connection that serves a message in more than this is one that others should not wait behind.
const SLUGGISH: Duration = Duration::from_secs(5);
/// A rate slow enough that its turns, not the ledger, are what is waited for.
const SLOW_RATE: f64 = 200.0;

/// One job in this process.
pub(super) struct Work {
    pub job: Job,
    pub way: Arc<Way>,
    pub deadline: Timestamp,
    /// Whether it tries a receiver that is closed but for this.
    pub probe: Probe,
    done: oneshot::Sender<Disposition>,
}

impl Work {
    pub fn new(
        job: Job,
        way: Arc<Way>,
        deadline: Timestamp,
        probe: Probe,
    ) -> (Self, oneshot::Receiver<Disposition>) {
        let (done, outcome) = oneshot::channel();
        (Self { job, way, deadline, probe, done }, outcome)
    }

    /// Tells the host. A host that went away has no use for it.
    pub fn end(self, disposition: Disposition) {
        let _ = self.done.send(disposition);
    }
}

/// Whether a job is sent to find out how a receiver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// It is like any other.
    No,
    /// It goes though the receiver is closed.
    Yes,
}

/// See the module.
pub(super) struct Trunk {
    state: Mutex<State>,
    arrived: Notify,
}

struct State {
    urgent: Fair,
    bulk: Fair,
    workers: u32,
    idle: u32,
    /// Whether workers without work leave at once, whatever their patience; until a job comes.
    dismissed: bool,
    /// Until when nobody is to be reached there.
    down_until: Timestamp,
    /// What a message costs a connection, smoothed.
    service: Duration,
    /// Recipients a second and connections that the site was given when last asked.
    a_second: f64,
    connections: u32,
    /// As many as there may ever be.
    connections_max: u32,
    /// When the next of those comes back who had no place in line before them.
    line_end: Timestamp,
}

/// What becomes of a job that comes to a trunk.
pub(super) enum Admitted {
    /// It stands here; somebody works.
    Queued,
    /// It stands here, and somebody has to be found to work.
    Hire,
    /// Nobody is to be reached there before then.
    Down(Work, Timestamp),
    /// It would wait too long here.
    Full(Work),
}

impl Trunk {
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                urgent: Fair::default(),
                bulk: Fair::default(),
                workers: 0,
                idle: 0,
                dismissed: false,
                down_until: Timestamp::default(),
                service: SERVICE_GUESS,
                a_second: f64::INFINITY,
                connections: 1,
                connections_max: 1,
                line_end: Timestamp::default(),
            }),
            arrived: Notify::new(),
        }
    }

    /// Notes what the site is given now.
    pub fn allow(&self, allowed: &Allowed, most: u32) {
        let mut state = locked(&self.state);
        state.a_second = allowed.a_second * HEADROOM;
        state.connections = allowed.connections.max(1);
        state.connections_max = most.max(state.connections);
    }

    /// Takes a job in, unless it would wait too long here.
    pub fn admit(&self, work: Work, now: Timestamp) -> Admitted {
        let mut state = locked(&self.state);
        if now < state.down_until {
            let until = state.down_until;
            return Admitted::Down(work, until);
        }
        if state.wait_here(&work) > QUEUE_WAIT_MAX {
            return Admitted::Full(work);
        }
        state.dismissed = false;
        match work.job.lane {
            Lane::Transactional => state.urgent.push(work),
            Lane::Bulk => state.bulk.push(work),
        }
        if state.idle == 0 && state.workers < state.connections {
            state.workers += 1;
            return Admitted::Hire;
        }
        drop(state);
        self.arrived.notify_one();
        Admitted::Queued
    }

    /// When a job may come back that was turned away with nobody before it in line: one after the other, at the pace
    /// at which they are served.
    pub fn slot(&self, now: Timestamp) -> Timestamp {
        let mut state = locked(&self.state);
        let turn = Duration::try_from_secs_f64(1.0 / state.capacity()).unwrap_or(DELAY_MAX).min(DELAY_MAX);
        // Half of what stands here is served before the first of them comes back, so that there is no gap; and none
        // is promised a time further off than a queue keeps it.
        let first = now.plus(QUEUE_WAIT_MAX / 2);
        let last = now.plus(DELAY_MAX);
        state.line_end =
            if state.line_end < first || state.line_end >= last { first } else { state.line_end };
        state.line_end = state.line_end.plus(turn);
        state.line_end
    }

    /// Jobs of a lane that wait here.
    pub fn waiting(&self, lane: Lane) -> u32 {
        let state = locked(&self.state);
        let waiting = match lane {
            Lane::Transactional => state.urgent.len(),
            Lane::Bulk => state.bulk.len(),
        };
        u32::try_from(waiting).unwrap_or(u32::MAX)
    }

    /// Jobs of a lane that wait here and can be sent in a row over connections that carry `left` messages more each.
    pub fn spendable(&self, lane: Lane, left: u32) -> u32 {
        let waiting = self.waiting(lane);
        let state = locked(&self.state);
        let workers = state.workers.max(1);
        let service_us = i64::try_from(state.service.as_micros()).unwrap_or(i64::MAX);
        let interval_us = (1e6 / state.a_second.max(1e-6)) as i64;
        waiting.min(spendable(workers, workers.saturating_mul(left), service_us, interval_us))
    }

    /// Messages a second that its connections can serve, whatever the rate.
    pub fn serves(&self) -> f64 {
        let state = locked(&self.state);
        f64::from(state.connections_max) / state.service.as_secs_f64().max(1e-4)
    }

    /// Whether a message costs a connection so long that others should not wait behind it.
    pub fn is_sluggish(&self) -> bool {
        locked(&self.state).service >= SLUGGISH
    }

    /// The next jobs for one worker. Waits for one while `patience` lasts; none: the worker is dismissed.
    pub async fn next(&self, patience: Duration) -> Option<Vec<Work>> {
        let give_up = Instant::now() + patience;
        loop {
            let arrived = {
                let mut state = locked(&self.state);
                let batch = state.take();
                if !batch.is_empty() {
                    return Some(batch);
                }
                if state.dismissed || Instant::now() >= give_up {
                    state.workers -= 1;
                    return None;
                }
                state.idle += 1;
                // Made under the lock: whoever is counted as idle is told.
                self.arrived.notified()
            };
            // A timeout is seen above, where leaving and the queue's being empty are one look.
            let _ = tokio::time::timeout_at(give_up, arrived).await;
            locked(&self.state).idle -= 1;
        }
    }

    /// Puts jobs back at the head of the queue and dismisses the worker; whether others are still at work.
    pub fn resign(&self, batch: Vec<Work>) -> bool {
        let mut state = locked(&self.state);
        for work in batch.into_iter().rev() {
            match work.job.lane {
                Lane::Transactional => state.urgent.put_back(work),
                Lane::Bulk => state.bulk.put_back(work),
            }
        }
        state.workers -= 1;
        let others = state.workers > 0;
        drop(state);
        if others {
            self.arrived.notify_one();
        }
        others
    }

    /// Everybody who waits here, urgent ones first.
    pub fn everybody(&self) -> Vec<Work> {
        let mut state = locked(&self.state);
        let mut all = state.urgent.drain();
        all.extend(state.bulk.drain());
        all
    }

    /// Sends those away who wait for work here, and those who will before the next job comes.
    pub fn dismiss(&self) {
        locked(&self.state).dismissed = true;
        self.arrived.notify_waiters();
    }

    /// Notes that nobody is to be reached there until then.
    pub fn down(&self, until: Timestamp) {
        locked(&self.state).down_until = until;
    }

    /// Notes what one message cost a connection.
    pub fn served(&self, took: Duration) {
        let mut state = locked(&self.state);
        state.service = (state.service * 7 + took) / 8;
    }

    /// Whether nobody waits, nobody works and nothing is remembered.
    pub fn is_empty(&self, now: Timestamp) -> bool {
        let state = locked(&self.state);
        state.workers == 0
            && state.urgent.len() + state.bulk.len() == 0
            && state.down_until <= now
            && state.line_end <= now
    }
}

impl State {
    /// How long a job would wait here.
    fn wait_here(&self, work: &Work) -> Duration {
        let ahead = match work.job.lane {
            Lane::Transactional => self.urgent.ahead_of(&work.job.tenant),
            Lane::Bulk => self.urgent.len() + self.bulk.ahead_of(&work.job.tenant),
        };
        Duration::try_from_secs_f64(ahead as f64 / self.capacity()).unwrap_or(DELAY_MAX)
    }

    /// Messages a second that the site takes, as far as is known.
    fn capacity(&self) -> f64 {
        let by_service = f64::from(self.connections) / self.service.as_secs_f64().max(1e-4);
        by_service.min(self.a_second).max(1e-6)
    }

    fn take(&mut self) -> Vec<Work> {
        let queued = self.urgent.len() + self.bulk.len();
        let workers = usize::try_from(self.workers.max(1)).unwrap_or(1);
        let is_paced = self.a_second < SLOW_RATE;
        let batch = if is_paced || self.service > FAST { 1 } else { queued.div_ceil(workers).min(AHEAD_MAX) };
        let mut taken: Vec<Work> = Vec::with_capacity(batch);
        while taken.len() < batch {
            let Some(work) = self.urgent.pop().or_else(|| self.bulk.pop()) else { break };
            taken.push(work);
        }
        taken
    }
}
