//! The smallest stories of what was once lost between the machine and a store: told step by step, without chance.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use posthaste_mail::{JobId, PartKey, Tenant};
use posthaste_pipeline::control::{self, CancelAnswer};
use posthaste_pipeline::deliver::Disposition;
use posthaste_pipeline::deliver::claims::{Claimed, Claims};
use posthaste_pipeline::effect::Effect;
use posthaste_pipeline::machine::{CancelStep, LEASE, cancel};
use posthaste_pipeline::row::{Job, Row, State};
use posthaste_pipeline::stores::{Acceptance, Hold, HoldOn};

use super::dice::Dice;
use super::process::Stage;
use super::store::{Fate, Faults, Hand, World};
use super::{letter_to, paused};

struct Calm {
    world: Arc<World>,
    stage: Arc<Stage>,
    hand: Hand,
    claims: Claims,
    row: Row,
}

/// A message is accepted, and nothing fails but what the story says.
fn tell<F: Future<Output = ()>>(recipients: &str, story: impl FnOnce(Calm) -> F) {
    paused(async {
        let world = World::new(1, Faults::default());
        let stage = Stage::new(world.clone());
        let hand = Hand { world: world.clone(), fate: Fate::new() };
        let claims = Claims::new(stage.ambient(2, 0), hand.stores());
        let Acceptance { row, .. } = letter_to(&world, recipients);
        world.write(0, row.clone());
        story(Calm { world, stage, hand, claims, row }).await;
    });
}

impl Calm {
    fn job(&self, name: &str) -> Job {
        self.row.job(JobId::derived(&[name.as_bytes()]))
    }

    fn now(&self, part: u16) -> Row {
        self.world.kept().rows[&PartKey { part, ..self.row.key.clone() }].clone()
    }

    fn jobs(&self) -> Vec<Job> {
        self.world.kept().queue.iter().map(|copy| copy.job.clone()).collect()
    }

    async fn claim(&self, job: &Job) -> Claimed {
        self.claims.claim(std::slice::from_ref(job), None).await.pop().unwrap()
    }

    async fn sending(&self, job: &Job) -> Row {
        match self.claim(job).await {
            Claimed::Mine(row) => *row,
            Claimed::Over(over) => panic!("not claimed: {over:?}"),
        }
    }

    async fn ends(&self, job: &Job) -> Disposition {
        match self.claim(job).await {
            Claimed::Over(over) => over,
            Claimed::Mine(row) => panic!("claimed: {row:?}"),
        }
    }

    async fn tick(&self) {
        posthaste_pipeline::clock::tick(&self.stage.ambient(3, 0), &self.hand.stores()).await.unwrap();
    }

    fn events(&self) -> usize {
        self.world.kept().events.len()
    }
}

#[test]
fn a_hold_released_while_it_parks_a_row_does_not_leave_it_behind() {
    tell("good@x.example", |calm| async move {
        let what = HoldOn::Message(calm.row.key.message.clone());
        let hold = Hold::new("h".to_owned(), None, what, calm.world.now());
        calm.world.kept().holds.push(hold);
        // Another message's claim has read the hold; then it is released, and only then comes this row's job.
        let mut elsewhere = calm.row.job(JobId::derived(&[b"elsewhere"]));
        elsewhere.key.part = 9;
        calm.claim(&elsewhere).await;
        calm.world.kept().holds.clear();
        assert_eq!(calm.ends(&calm.job("j1")).await, Disposition::Done);
        assert_eq!(calm.now(0).hold.as_deref(), Some("h"));
        let [job] = &calm.jobs()[..] else { panic!("{:?}", calm.jobs()) };
        tokio::time::sleep(job.due.since(calm.world.now())).await;
        calm.sending(job).await;
    });
}

#[test]
fn a_job_that_died_after_parking_its_row_reads_the_hold_again() {
    tell("good@x.example", |calm| async move {
        let what = HoldOn::Message(calm.row.key.message.clone());
        let hold = Hold::new("h".to_owned(), None, what, calm.world.now());
        calm.world.kept().holds.push(hold);
        assert_eq!(calm.ends(&calm.job("j1")).await, Disposition::Done);
        assert_eq!(calm.jobs(), []);
        calm.world.kept().holds.clear();
        assert_eq!(calm.ends(&calm.job("j1")).await, Disposition::Done);
        assert_eq!(calm.jobs().len(), 1);
    });
}

#[test]
fn a_cancel_reaches_the_parts_that_a_dying_split_has_not_written() {
    tell("good@x.example fine@y.example", |calm| async move {
        // The job that splits dies after the head and the first part.
        let claim = posthaste_pipeline::machine::claim;
        let mut fresh = || JobId::derived(&[b"part"]);
        let mut situation = posthaste_pipeline::machine::Situation {
            now: calm.world.now(),
            barred: &[],
            hold: None,
            fresh: &mut fresh,
        };
        let split = claim(Some(&calm.row), &calm.job("j1"), &mut situation);
        let posthaste_pipeline::machine::Claim::Settle(step) = split else { panic!("{split:?}") };
        calm.world.write(step.expect, step.row);
        step.effects.into_iter().take(1).for_each(|effect| calm.world.effect(effect));

        let (ambient, stores) = (calm.stage.ambient(3, 0), calm.hand.stores());
        let id = &calm.row.key.message;
        let answers = control::cancel(&ambient, &stores, &Tenant::default_tenant(), id).await.unwrap();
        assert!(answers.iter().all(|(_, answer)| *answer == CancelAnswer::Cancelled), "{answers:?}");
        assert_eq!(answers.len(), 2);
        // It comes again and writes what it was about to.
        assert_eq!(calm.ends(&calm.job("j1")).await, Disposition::Done);
        assert_eq!([calm.now(1).state, calm.now(2).state], [State::Done, State::Done]);
        assert_eq!(calm.events(), 2);
    });
}

#[test]
fn a_cancel_whose_caller_died_is_told_by_the_clock() {
    for (recipients, ends) in [("good@x.example fine@x.example", 2), ("good@x.example fine@y.example", 2)] {
        tell(recipients, |calm| async move {
            let CancelStep::Now(step) = cancel(&calm.row, calm.world.now(), JobId::derived(&[b"caller"]))
            else {
                panic!()
            };
            calm.world.write(step.expect, step.row);
            tokio::time::sleep(Duration::from_secs(601)).await;
            calm.tick().await;
            let [job] = &calm.jobs()[..] else { panic!("{:?}", calm.jobs()) };
            assert_eq!(calm.ends(job).await, Disposition::Done);
            assert_eq!(calm.events(), ends);
            assert_eq!(calm.now(0).wake, None);
        });
    }
}

#[test]
fn a_row_whose_holder_and_job_are_both_lost_is_taken_up_by_the_clock() {
    tell("good@x.example", |calm| async move {
        calm.sending(&calm.job("j1")).await;
        tokio::time::sleep(Duration::from_secs(601)).await;
        calm.tick().await;
        let [job] = &calm.jobs()[..] else { panic!("{:?}", calm.jobs()) };
        assert_eq!(calm.sending(job).await.crashes, 1);
    });
}

#[test]
fn one_copy_of_a_job_is_not_acknowledged_while_another_has_the_row() {
    tell("good@x.example", |calm| async move {
        let job = calm.job("j1");
        let first = calm.sending(&job).await;
        tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
        let second = calm.sending(&job).await;
        let first = calm.claims.settle(&first, &job, &[]).await;
        assert_eq!(first, Disposition::KeepUntil(second.lease));
        assert_eq!(calm.claims.settle(&second, &job, &[]).await, Disposition::Done);
    });
}

#[test]
fn an_old_copy_of_a_job_tells_what_a_dead_one_settled() {
    tell("good@x.example", |calm| async move {
        let job = calm.job("j1");
        let first = calm.sending(&job).await;
        tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
        let second = calm.sending(&job).await;
        // The second settles and dies before any effect.
        let told = calm.stage.receiver.transact(&second, &[0], calm.world.now(), &Dice::new(1)).0;
        let retry = posthaste_policy::retry::RetryPolicy::default();
        let pace = posthaste_pipeline::machine::Pace { retry: &retry, jitter: 0.0 };
        let now = calm.world.now();
        let mut fresh = || JobId::derived(&[b"successor"]);
        let step =
            posthaste_pipeline::machine::settle(&second, &job, second.claim, &told, &pace, now, &mut fresh);
        let step = step.unwrap();
        assert!(matches!(step.effects[..], [Effect::Event(_)]));
        calm.world.write(step.expect, step.row);
        assert_eq!(calm.claims.settle(&first, &job, &[]).await, Disposition::Done);
        assert_eq!(calm.events(), 1);
    });
}
