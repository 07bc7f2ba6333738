//! The jobs that wait in this process for one set of hosts, and who works on them. Only unclaimed jobs stand here,
//! and only as many as will be served soon: the rest waits in its queue, at a time worked out once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_mail::{Lane, Timestamp};
use posthaste_policy::Rate;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::way::{Shape, Way};
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
/// A rate slow enough that its turns, not the ledger, are what is waited for.
const SLOW_RATE: f64 = 200.0;

/// One job in this process.
pub(super) struct Work {
    pub job: Job,
    pub way: Arc<Way>,
    pub deadline: Timestamp,
    done: oneshot::Sender<Disposition>,
}

impl Work {
    pub fn new(job: Job, way: Arc<Way>, deadline: Timestamp) -> (Self, oneshot::Receiver<Disposition>) {
        let (done, outcome) = oneshot::channel();
        (Self { job, way, deadline, done }, outcome)
    }

    /// Tells the host. A host that went away has no use for it.
    pub fn end(self, disposition: Disposition) {
        let _ = self.done.send(disposition);
    }
}

/// See the module.
pub(super) struct Trunk {
    state: Mutex<State>,
    arrived: Notify,
}

struct State {
    urgent: VecDeque<Work>,
    bulk: VecDeque<Work>,
    workers: u32,
    idle: u32,
    /// Whether workers without work leave at once, whatever their patience; until a job comes.
    dismissed: bool,
    /// Until when nobody is to be reached there.
    down_until: Timestamp,
    /// What a message costs a connection, smoothed.
    service: Duration,
    /// When the line of those who wait elsewhere ends.
    line_end: Timestamp,
}

/// What becomes of a job that comes to a trunk.
pub(super) enum Admitted {
    /// It stands here; somebody works.
    Queued,
    /// It stands here, and somebody has to be found to work.
    Hire,
    /// It is to come back then.
    Later(Timestamp),
}

impl Trunk {
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                urgent: VecDeque::new(),
                bulk: VecDeque::new(),
                workers: 0,
                idle: 0,
                dismissed: false,
                down_until: Timestamp::default(),
                service: SERVICE_GUESS,
                line_end: Timestamp::default(),
            }),
            arrived: Notify::new(),
        }
    }

    /// Takes a job in, unless it would wait too long here.
    pub fn admit(&self, work: Work, now: Timestamp) -> Admitted {
        let mut state = locked(&self.state);
        if now < state.down_until {
            return Admitted::Later(state.down_until);
        }
        if let Some(later) = state.later(&work, now) {
            return Admitted::Later(later);
        }
        let connections = work.way.shape.connections;
        state.dismissed = false;
        match work.job.lane {
            Lane::Transactional => state.urgent.push_back(work),
            Lane::Bulk => state.bulk.push_back(work),
        }
        if state.idle == 0 && state.workers < connections {
            state.workers += 1;
            return Admitted::Hire;
        }
        drop(state);
        self.arrived.notify_one();
        Admitted::Queued
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
                Lane::Transactional => state.urgent.push_front(work),
                Lane::Bulk => state.bulk.push_front(work),
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
        let mut all: Vec<Work> = state.urgent.drain(..).collect();
        all.extend(state.bulk.drain(..));
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
            && state.urgent.is_empty()
            && state.bulk.is_empty()
            && state.down_until <= now
            && state.line_end <= now
    }
}

impl State {
    fn later(&mut self, work: &Work, now: Timestamp) -> Option<Timestamp> {
        let ahead = match work.job.lane {
            Lane::Transactional => self.urgent.len(),
            Lane::Bulk => self.urgent.len() + self.bulk.len(),
        };
        let a_second = self.capacity(&work.way.shape);
        let wait = Duration::try_from_secs_f64(ahead as f64 / a_second).unwrap_or(DELAY_MAX);
        if wait <= QUEUE_WAIT_MAX {
            return None;
        }
        let turn = Duration::try_from_secs_f64(1.0 / a_second).unwrap_or(DELAY_MAX);
        // Half of what stands here is served before the first of the line comes back, so that there is no gap.
        self.line_end = self.line_end.max(now.plus(QUEUE_WAIT_MAX / 2)).plus(turn);
        Some(self.line_end.min(now.plus(DELAY_MAX)).min(work.job.expires))
    }

    /// Messages a second that the site takes, as far as is known.
    fn capacity(&self, shape: &Shape) -> f64 {
        let by_service = f64::from(shape.connections) / self.service.as_secs_f64().max(1e-4);
        by_service.min(shape.rate.a_second()).max(1e-6)
    }

    fn take(&mut self) -> Vec<Work> {
        let queued = self.urgent.len() + self.bulk.len();
        let Some(first) = self.urgent.front().or(self.bulk.front()) else { return Vec::new() };
        let paced =
            !matches!(first.way.shape.rate, Rate::Unlimited) && first.way.shape.rate.a_second() < SLOW_RATE;
        let workers = usize::try_from(self.workers.max(1)).unwrap_or(1);
        let batch = if paced || self.service > FAST { 1 } else { queued.div_ceil(workers).min(AHEAD_MAX) };
        let mut taken = Vec::with_capacity(batch);
        while taken.len() < batch {
            let Some(work) = self.urgent.pop_front().or_else(|| self.bulk.pop_front()) else { break };
            taken.push(work);
        }
        taken
    }
}
