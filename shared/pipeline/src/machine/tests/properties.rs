//! One row under every order of claims, settlements, lapses, repeats, cancels, retries and ticks, with a process
//! dying after any effect. What must hold at each write, and that all of it ends.

use std::collections::{BTreeMap, HashMap};

use posthaste_mail::EventId;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::effect::Effect;
use crate::row::{Cancel, Dot, End, Outcome};

/// One thing that happens. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Op {
    /// Time goes by.
    Wait(u16),
    /// A job comes, perhaps not for the first time; it dies after so many effects.
    Come(u8, u8),
    /// A holder sends: for each recipient what comes of it.
    Send(u8, [u8; 3]),
    /// A holder settles, and dies after so many effects.
    Settle(u8, u8),
    /// A holder dies.
    Die(u8),
    /// The clock, which dies before it has written.
    Tick(Dies),
    /// A caller cancels, and dies after so many effects.
    Cancel(u8),
    /// A caller tries again.
    Retry,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Dies {
    No,
    Yes,
}

/// More than any step has.
const ALL: u8 = 100;

fn op() -> impl Strategy<Value = Op> {
    let dies = || prop_oneof![3 => Just(ALL), 1 => 0..4_u8];
    prop_oneof![
        4 => prop_oneof![0..30_u16, 30..90_u16, 300..2000_u16, Just(5000_u16)].prop_map(Op::Wait),
        8 => (any::<u8>(), dies()).prop_map(|(which, dies)| Op::Come(which, dies)),
        6 => (any::<u8>(), any::<[u8; 3]>()).prop_map(|(which, what)| Op::Send(which, what)),
        6 => (any::<u8>(), dies()).prop_map(|(which, dies)| Op::Settle(which, dies)),
        2 => any::<u8>().prop_map(Op::Die),
        3 => prop_oneof![Just(Dies::No), Just(Dies::Yes)].prop_map(Op::Tick),
        1 => dies().prop_map(Op::Cancel),
        1 => Just(Op::Retry),
    ]
}

struct Holder {
    job: Job,
    claim: u32,
    due: Vec<usize>,
    told: Option<Vec<Told>>,
}

struct World {
    row: Row,
    now: i64,
    made: u32,
    /// Every job there ever was, and whether it was acknowledged.
    jobs: Vec<(Job, Acked)>,
    holders: Vec<Holder>,
    events: HashMap<EventId, (crate::effect::EventKind, String, Timestamp)>,
    /// What the receiver took of each recipient since a caller last asked for it.
    taken: BTreeMap<usize, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Acked {
    No,
    Yes,
}

impl World {
    fn new(guarantee: Guarantee, send_at: Option<i64>) -> Self {
        let facts = Facts { guarantee, send_at: send_at.map(at), ..facts() };
        let row = accepted(facts, "a@x.example b@x.example c@x.example");
        let jobs =
            if row.promise == Promise::Job { vec![(job(&row, "first"), Acked::No)] } else { Vec::new() };
        Self {
            row,
            now: 0,
            made: 0,
            jobs,
            holders: Vec::new(),
            events: HashMap::new(),
            taken: BTreeMap::new(),
        }
    }

    fn fresh(&mut self) -> JobId {
        self.made += 1;
        job_id(&self.made.to_string())
    }

    /// Writes a step, if it was decided on the row as it is, and does so many of its effects. Whether all was done.
    fn write(&mut self, step: Step, dies: u8, by: &Op) -> bool {
        assert_eq!(step.expect, self.row.version, "nobody writes in between here");
        assert_eq!(step.row.version, step.expect + 1);
        assert!(step.row.seq >= self.row.seq && step.row.claim >= self.row.claim);
        for (before, after) in self.row.recipients.iter().zip(&step.row.recipients) {
            let (Outcome::Final { end: was, .. }, is) = (&before.outcome, &after.outcome) else { continue };
            match is {
                Outcome::Final { end: is, .. } => {
                    assert!(is == was || *is == End::Delivered, "{was:?} became {is:?} by {by:?}");
                }
                Outcome::Open => {
                    assert!(
                        matches!(by, Op::Retry) && *was != End::Delivered,
                        "{was:?} was opened by {by:?}"
                    );
                }
            }
        }
        self.row = step.row;
        let open = self.row.open_recipients().next().is_some();
        // A late 2xx may leave nothing open to the job that is sending: it finds that out when it settles.
        assert!(self.row.state == State::Sending || open == (self.row.state != State::Done));
        assert!(
            self.row.state == State::Done || self.row.wake.is_some(),
            "stranded: {}",
            shown::row(&self.row)
        );
        assert_eq!(self.row.state == State::Sending, self.row.lease != Timestamp::default());
        self.perform(step.effects, dies)
    }

    fn perform(&mut self, effects: Vec<Effect>, dies: u8) -> bool {
        let whole = effects.len() <= usize::from(dies);
        for effect in effects.into_iter().take(dies.into()) {
            match effect {
                Effect::Job(job) => self.jobs.push((job, Acked::No)),
                Effect::Event(event) => {
                    let fact = (event.kind, event.about.as_ref().unwrap().recipient.to_string(), event.at);
                    let known = self.events.entry(event.event_id.clone()).or_insert_with(|| fact.clone());
                    assert_eq!(*known, fact, "one id, two facts");
                }
                Effect::Suppress(_) | Effect::DeadLetter(_) => {}
                Effect::Row(_) => panic!("this row is no head"),
            }
        }
        whole
    }

    /// A job comes; what it begins to send is given back.
    fn come(&mut self, which: usize, dies: u8, by: &Op) {
        let Some((job, acked)) = self.jobs.get_mut(which) else { return };
        // An acknowledged job that comes again was not deleted everywhere: it is to be acknowledged again.
        *acked = Acked::No;
        let job = job.clone();
        let mut made = self.made;
        let mut fresh = || {
            made += 1;
            job_id(&made.to_string())
        };
        let barred = [Barred::No; 3];
        let mut situation = Situation { now: at(self.now), barred: &barred, hold: None, fresh: &mut fresh };
        let decided = claim(Some(&self.row), &job, &mut situation);
        self.made = made;
        let over = match decided {
            Claim::Run(step) => {
                if self.write(step, dies, by) {
                    let due = self.row.open_recipients().filter(|(_, r)| r.due <= at(self.now));
                    let due = due.map(|(at, _)| at).collect();
                    self.holders.push(Holder { job, claim: self.row.claim, due, told: None });
                }
                false
            }
            Claim::Settle(step) | Claim::Hold(step) => self.write(step, dies, by),
            Claim::Replay(effects) => self.perform(effects, dies),
            Claim::KeepUntil(_) => false,
            Claim::Drop => true,
            Claim::Dead(reason) => panic!("nothing here is impossible: {reason}"),
        };
        if over {
            self.jobs[which].1 = Acked::Yes;
        }
    }

    fn holds(&self, holder: &Holder) -> bool {
        self.row.state == State::Sending
            && self.row.by.as_ref() == Some(&holder.job.id)
            && self.row.claim == holder.claim
    }

    /// A holder comes to the dot and past it. Whoever pays for it asks first whether the row is still its own.
    fn send(&mut self, which: usize, what: [u8; 3], by: &Op) {
        let guarded = self.row.facts.guarantee == Guarantee::AtMostOnce;
        if self.holders[which].told.is_some() {
            return;
        }
        if guarded && !self.holds(&self.holders[which]) {
            self.holders.remove(which);
            return;
        }
        if guarded {
            let mut near = self.row.clone();
            near.dot = Dot::Near;
            near.lease = at(self.now).plus(LEASE);
            let step = near.step(Vec::new());
            self.write(step, ALL, by);
        }
        let mut all = Vec::new();
        for recipient in self.holders[which].due.clone() {
            let what = match what[recipient] % 10 {
                0..=2 => "ok",
                3 | 4 => "lost",
                5 | 6 => "451",
                7 => "421",
                8 => "550",
                _ => "again",
            };
            if what == "ok" || (what == "lost" && recipient != 2) {
                let taken = self.taken.entry(recipient).or_default();
                *taken += 1;
                assert!(!guarded || *taken == 1, "sent again past the dot");
            }
            all.push(told(recipient, what));
        }
        self.holders[which].told = Some(all);
    }

    fn settle(&mut self, which: usize, dies: u8, by: &Op) {
        let holder = self.holders.remove(which);
        let told = holder.told.unwrap_or_default();
        let retry = RetryPolicy::default();
        let pace = Pace { retry: &retry, jitter: 0.5 };
        let id = self.fresh();
        let mut fresh = || id.clone();
        let (job, claim, now) = (&holder.job, holder.claim, at(self.now));
        let mut step = settle(&self.row, job, claim, &told, &pace, now, &mut fresh);
        let in_time = step.is_some();
        step = step.or_else(|| settle_late(&self.row, job, claim, &told, now, &mut fresh));
        let late = step.is_some() && !in_time;
        let whole = match step {
            Some(step) => self.write(step, dies, by),
            // Another copy of the job may have settled it, and died: who acknowledges the job sees that it is told.
            None if self.row.is_told_by(&job.id) => {
                self.perform(follow(&self.row, &job.id, now, &mut || id.clone()), dies)
            }
            None => true,
        };
        if whole
            && late
            && let Some(step) = told_of(&self.row)
        {
            self.write(step, ALL, by);
        }
        let held_by_a_copy = self.row.state == State::Sending && self.row.by.as_ref() == Some(&holder.job.id);
        if whole
            && !held_by_a_copy
            && let Some(acked) = self.jobs.iter_mut().find(|(known, _)| known.id == holder.job.id)
        {
            acked.1 = Acked::Yes;
        }
    }

    fn tick(&mut self, dies: Dies, by: &Op) {
        let id = self.fresh();
        let Some(overdue) = overdue(&self.row, at(self.now), id) else { return };
        self.jobs.extend(overdue.job.map(|job| (job, Acked::No)));
        if dies == Dies::No {
            self.write(overdue.step, ALL, by);
        }
    }

    fn happen(&mut self, op: &Op) {
        match op {
            Op::Wait(seconds) => self.now += i64::from(*seconds),
            Op::Come(which, dies) => {
                // Mostly one of the latest.
                let back = usize::from(*which) % 6;
                if let Some(which) = self.jobs.len().checked_sub(1 + back) {
                    self.come(which, *dies, op);
                }
            }
            Op::Send(..) | Op::Settle(..) | Op::Die(_) if self.holders.is_empty() => {}
            Op::Send(which, what) => self.send(usize::from(*which) % self.holders.len(), *what, op),
            Op::Settle(which, dies) => self.settle(usize::from(*which) % self.holders.len(), *dies, op),
            Op::Die(which) => {
                let which = usize::from(*which) % self.holders.len();
                self.holders.remove(which);
            }
            Op::Tick(dies) => self.tick(*dies, op),
            Op::Cancel(dies) => {
                let id = self.fresh();
                match cancel(&self.row, at(self.now), id) {
                    CancelStep::Now(step) => {
                        if self.write(step, *dies, op)
                            && let Some(step) = told_of(&self.row)
                        {
                            self.write(step, ALL, op);
                        }
                    }
                    CancelStep::Asked(step) => {
                        self.write(step, *dies, op);
                        assert_eq!(self.row.cancel, Cancel::Asked);
                    }
                    CancelStep::TooLate => {}
                }
            }
            Op::Retry => {
                let id = self.fresh();
                if let Ok(Retry::Now(step)) = retry_now(&self.row, &|_| false, at(self.now), id) {
                    self.taken.clear();
                    self.write(step, ALL, op);
                }
            }
        }
    }

    /// Everybody is dead; what is left in the queue comes, and the clock ticks.
    fn drain(&mut self) {
        self.holders.clear();
        for _ in 0..400 {
            let open: Vec<usize> = (0..self.jobs.len()).filter(|at| self.jobs[*at].1 == Acked::No).collect();
            if open.is_empty() && self.row.state == State::Done && self.row.wake.is_none() {
                return self.all_told();
            }
            for which in open {
                self.come(which, ALL, &Op::Come(0, ALL));
                if !self.holders.is_empty() {
                    self.send(0, [7; 3], &Op::Send(0, [7; 3]));
                }
                if !self.holders.is_empty() {
                    self.settle(0, ALL, &Op::Settle(0, ALL));
                }
            }
            self.now += 300;
            self.tick(Dies::No, &Op::Tick(Dies::No));
        }
        panic!("it does not end: {}", shown::row(&self.row));
    }

    /// Every end was told under an id of its own.
    fn all_told(&self) {
        for recipient in &self.row.recipients {
            let Outcome::Final { by: Some(by), end, .. } = &recipient.outcome else {
                panic!("not final: {}", shown::row(&self.row));
            };
            let Some(Effect::Event(event)) = effects::event_of(&self.row, recipient, by) else { panic!() };
            assert!(
                self.events.contains_key(&event.event_id),
                "never told: {end:?} of {}",
                recipient.address
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_row_it_keeps_its_promises_and_ends(
        guarded in any::<bool>(),
        send_at in prop_oneof![3 => Just(None), 1 => (0..3000_i64).prop_map(Some)],
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let guarantee = if guarded { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce };
        let mut world = World::new(guarantee, send_at);
        for op in &ops {
            world.happen(op);
        }
        world.drain();
    }
}
