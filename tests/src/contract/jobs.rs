//! Jobs and wakes: nothing before its time, nothing lost.

use std::collections::BTreeSet;

use posthaste_mail::{JobId, Lane, Timestamp};
use posthaste_pipeline::effect::{Effect, Step};
use posthaste_pipeline::row::Queue as Which;
use posthaste_pipeline::row::{Job, Row, State};
use posthaste_pipeline::stores::Applied;

use super::make::{self, at, plain, submission};
use super::{Delivered, Deliveries, Subject, accept_new, again, drain, drive, perform};

/// Jobs come when they are due, longest due first, each in its lane.
pub async fn jobs_come_when_they_are_due(subject: &Subject) {
    let Subject { stores, queue, deliveries, .. } = subject;
    let jobs: Vec<Job> = [30, 10, 20, 0, 40].map(|due| make::job(&format!("job {due}"), at(due))).to_vec();
    again(|| stores.later.put(jobs.clone())).await;
    let bulk = Job { lane: Lane::Bulk, ..make::job("bulk", at(0)) };
    perform(stores, vec![Effect::Job(bulk.clone())]).await;

    let mut came: Vec<Job> = Vec::new();
    for (now, expected) in [(0, vec![0]), (9, vec![]), (25, vec![10, 20]), (39, vec![30]), (99, vec![40])] {
        let due: Vec<Timestamp> =
            drain(&**queue, Which::Transactional, at(now)).await.iter().map(|job| job.due).collect();
        let expected: Vec<Timestamp> = expected.into_iter().map(at).collect();
        match deliveries {
            Deliveries::Once => assert_eq!(due, expected, "at {now}"),
            Deliveries::AtLeastOnce => {
                assert!(due.iter().all(|due| *due <= at(now)), "at {now}: {due:?}");
                assert!(expected.iter().all(|expected| due.contains(expected)), "at {now}: {due:?}");
            }
        }
    }
    came.extend(drain(&**queue, Which::Bulk, at(0)).await);
    assert!(!came.is_empty() && came.iter().all(|job| *job == bulk), "{came:?}");
}

/// What is not acknowledged is nobody else's meanwhile; kept, it comes again when it was told to.
pub async fn a_kept_job_comes_again(subject: &Subject) {
    let Subject { stores, queue, .. } = subject;
    let job = make::job("one", at(0));
    again(|| stores.later.put(vec![job.clone()])).await;
    let lane = Which::Transactional;
    let first = loop {
        if let Some(first) = again(|| queue.receive(lane, at(0), 10)).await.pop() {
            break first;
        }
    };
    again(|| queue.keep(first.receipt, at(60))).await;
    for copy in drain(&**queue, lane, at(59)).await {
        assert_eq!(subject.deliveries, Deliveries::AtLeastOnce, "{copy:?} came early");
    }
    let came = drain(&**queue, lane, at(60)).await;
    assert!(came.contains(&job), "{came:?}");
    if subject.deliveries == Deliveries::Once {
        assert_eq!(drain(&**queue, lane, at(1_000)).await, []);
    }
}

/// Many jobs, more than are looked at in one go, all come; copies of one job are acknowledged each for itself.
pub async fn every_job_comes(subject: &Subject) {
    let Subject { stores, queue, deliveries, .. } = subject;
    let jobs: Vec<Job> = (0..120).map(|n| make::job(&format!("job {n}"), at(n % 7))).collect();
    // Few at a time: on a bad day a long batch is never done without a crash.
    for some in jobs.chunks(5) {
        again(|| stores.later.put(some.to_vec())).await;
    }
    let copies = vec![jobs[0].clone(), jobs[0].clone()];
    again(|| stores.later.put(copies.clone())).await;
    let lane = Which::Transactional;
    let held: Vec<Delivered> = again(|| queue.receive(lane, at(7), 3)).await;
    let rest = drain(&**queue, lane, at(7)).await;
    for delivered in &held {
        again(|| queue.ack(delivered.receipt)).await;
    }
    let came: Vec<&Job> = rest.iter().chain(held.iter().map(|delivered| &delivered.job)).collect();
    let ids: BTreeSet<&JobId> = came.iter().map(|job| &job.id).collect();
    assert_eq!(ids.len(), jobs.len());
    if *deliveries == Deliveries::Once {
        assert_eq!(came.len(), jobs.len() + copies.len());
        assert_eq!(drain(&**queue, lane, at(1_000)).await, []);
    }
}

/// Rows whose wake has come are shown, longest overdue first and a few at a time, until their wake is moved.
pub async fn the_overdue_are_shown_until_they_are_seen_to(subject: &Subject) {
    let stores = &subject.stores;
    let write = async |row: &Row, wake: Option<Timestamp>, state: State| {
        let mut next = row.clone();
        next.version += 1;
        next.wake = wake;
        next.state = state;
        let step = Step { expect: row.version, row: next.clone(), effects: Vec::new() };
        assert_eq!(drive(stores, step).await, Applied::Yes);
        next
    };
    let mut rows = Vec::new();
    for (n, wake) in [50, 20, 40, 10, 30].into_iter().enumerate() {
        let row = plain(&format!("row {n}"));
        accept_new(stores, submission(row.clone())).await;
        rows.push(write(&row, Some(at(wake)), State::Waiting).await);
    }
    let silent = plain("no wake");
    accept_new(stores, submission(silent.clone())).await;
    write(&silent, None, State::Done).await;

    let wakes = async |now: u64, limit: usize| -> Vec<Timestamp> {
        let rows = again(|| stores.ledger.overdue(at(now), limit)).await;
        rows.iter().map(|row| row.wake.unwrap()).collect()
    };
    assert_eq!(wakes(9, 10).await, []);
    assert_eq!(wakes(30, 10).await, [10, 20, 30].map(at));
    assert_eq!(wakes(99, 2).await, [10, 20].map(at));
    let moved = write(&rows[3], Some(at(200)), State::Waiting).await;
    assert_eq!(wakes(99, 2).await, [20, 30].map(at));
    let ended = write(&rows[1], Some(at(25)), State::Done).await;
    assert_eq!(wakes(99, 2).await, [25, 30].map(at), "what is final wakes until all of it is told");
    write(&ended, None, State::Done).await;
    write(&rows[4], Some(at(210)), State::Sending).await;
    assert_eq!(wakes(99, 10).await, [40, 50].map(at));
    write(&moved, None, State::Done).await;
    assert_eq!(wakes(1_000, 10).await, [40, 50, 210].map(at));
}
