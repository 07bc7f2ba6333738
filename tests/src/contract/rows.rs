//! Rows under their versions.

use bytes::Bytes;
use posthaste_mail::{Lane, PartKey, Tenant};
use posthaste_pipeline::effect::{Effect, Step};
use posthaste_pipeline::row::{Row, State};
use posthaste_pipeline::stores::{Accepted, Applied};

use super::make::{self, at, job_id, plain, submission, tenant};
use super::{Deliveries, Subject, accept, accept_new, again, drain, drive, perform, read};

/// The row with a mark that tells writers apart.
fn marked(row: &Row, by: &str) -> Step {
    let mut next = row.clone();
    next.version += 1;
    next.site = Some(by.to_owned());
    Step { expect: row.version, row: next, effects: Vec::new() }
}

/// What was accepted is there: row, octets and job.
pub async fn what_was_accepted_is_there(subject: &Subject) {
    let Subject { stores, queue, .. } = subject;
    let one = submission(plain("one"));
    accept_new(stores, one.clone()).await;
    assert_eq!(read(stores, &one.row.row_key()).await, Some(one.row.clone()));
    let octets = again(|| stores.spool.open(&one.row.facts.spool)).await;
    assert_eq!(octets, Some(one.message.clone()));
    assert_eq!(again(|| stores.spool.open("none such")).await, None);
    let jobs = drain(&**queue, Lane::Transactional, at(0)).await;
    assert!(jobs.contains(&one.job.unwrap()), "{jobs:?}");
}

/// The same key again is itself, and sends its job again while it is open; with another request it is a conflict.
pub async fn a_key_comes_once(subject: &Subject) {
    let Subject { stores, queue, .. } = subject;
    let first = submission(plain("one"));
    accept_new(stores, first.clone()).await;
    drain(&**queue, Lane::Transactional, at(0)).await;

    let answer = accept(stores, first.clone()).await;
    assert_eq!(answer, Accepted::Same(Box::new(first.row.clone())));
    let sent_again = drain(&**queue, Lane::Transactional, at(0)).await;
    assert!(sent_again.iter().any(|job| job.key == first.row.key && job.seq == 1), "{sent_again:?}");

    let mut other = first.clone();
    let mut facts = make::facts("one");
    facts.request_hash = "another".to_owned();
    other.row.facts = facts.into();
    other.message = Bytes::from_static(b"other octets");
    assert_eq!(accept(stores, other).await, Accepted::Conflict);
    assert_eq!(read(stores, &first.row.row_key()).await, Some(first.row.clone()));
    assert_eq!(again(|| stores.spool.open(&first.row.facts.spool)).await, Some(first.message.clone()));

    let mut done = first.row.clone();
    done.state = State::Done;
    done.wake = None;
    done.version += 1;
    let step = Step { expect: 1, row: done.clone(), effects: Vec::new() };
    assert_eq!(drive(stores, step).await, Applied::Yes);
    drain(&**queue, Lane::Transactional, at(0)).await;
    assert_eq!(accept(stores, first).await, Accepted::Same(Box::new(done)));
    let none = drain(&**queue, Lane::Transactional, at(0)).await;
    assert!(subject.deliveries == Deliveries::AtLeastOnce || none.is_empty(), "{none:?}");
}

/// A batch is answered in order, each on its own.
pub async fn a_batch_is_answered_in_order(subject: &Subject) {
    let stores = &subject.stores;
    let (one, two) = (submission(plain("one")), submission(plain("two")));
    let mut other = one.clone();
    other.row.facts = make::facts("three").into();
    let batch = vec![one.clone(), two.clone(), one.clone(), other];
    let answers = again(|| stores.intake.accept(batch.clone())).await;
    let shown: Vec<&str> = answers
        .iter()
        .map(|answer| match answer {
            Accepted::New => "new",
            Accepted::Same(_) => "same",
            Accepted::Conflict => "conflict",
        })
        .collect();
    assert!(matches!(shown[..], ["new" | "same", "new" | "same", "same", "conflict"]), "{shown:?}");

    let missing = plain("missing").row_key();
    let keys = [two.row.row_key(), missing, one.row.row_key()];
    let rows = again(|| stores.ledger.read(&keys)).await;
    assert_eq!(rows, [Some(two.row.clone()), None, Some(one.row.clone())]);

    let steps = [marked(&one.row, "a"), marked(&two.row, "b")];
    let mut stale = marked(&one.row, "c");
    stale.expect = 7;
    assert_eq!(drive(stores, steps[0].clone()).await, Applied::Yes);
    assert_eq!(drive(stores, stale).await, Applied::Stale);
    assert_eq!(drive(stores, steps[1].clone()).await, Applied::Yes);
    assert_eq!(read(stores, &one.row.row_key()).await, Some(steps[0].row.clone()));
}

/// A row is put only where none is, and a write that comes too late does nothing at all.
pub async fn a_row_is_written_only_over_its_version(subject: &Subject) {
    let Subject { stores, queue, .. } = subject;
    let row = plain("one");
    let put = Step { expect: 0, row: row.clone(), effects: Vec::new() };
    assert_eq!(drive(stores, put.clone()).await, Applied::Yes);
    let next = marked(&row, "first");
    assert_eq!(drive(stores, next.clone()).await, Applied::Yes);

    let too_late = |mut step: Step| {
        step.effects = vec![
            Effect::Event(Box::new(make::event("late", &row, at(1)))),
            Effect::Job(make::job("late", at(0))),
            Effect::Suppress(make::suppression(&row.tenant, "late@example.net", None)),
            Effect::DeadLetter(make::letter("late")),
            Effect::Row(Box::new(plain("late"))),
        ];
        step
    };
    for step in [put, marked(&row, "second"), Step { expect: 9, ..marked(&row, "third") }] {
        assert_eq!(drive(stores, too_late(step)).await, Applied::Stale);
    }
    let unknown = Step { expect: 3, ..marked(&plain("unknown"), "x") };
    assert_eq!(drive(stores, too_late(unknown)).await, Applied::Stale);

    assert_eq!(read(stores, &row.row_key()).await, Some(next.row));
    assert_eq!(read(stores, &plain("late").row_key()).await, None);
    assert_eq!(read(stores, &plain("unknown").row_key()).await, None);
    assert_eq!(drain(&**queue, Lane::Transactional, at(10)).await, []);
    assert_eq!(again(|| stores.feed.after(&row.tenant, 0, 10)).await, []);
    assert_eq!(again(|| stores.dead_letters.list(None, 10)).await, []);
    assert_eq!(again(|| stores.suppressions.list(&row.tenant, None, 10)).await, []);

    perform(stores, vec![Effect::Row(Box::new(row.clone()))]).await;
    assert_eq!(
        read(stores, &row.row_key()).await.map(|row| row.version),
        Some(2),
        "an effect puts no row over another"
    );
}

/// Of many who write over the same version one wins, round after round.
pub async fn one_of_many_writers_wins(subject: &Subject) {
    const WRITERS: usize = 8;
    const ROUNDS: u64 = 12;
    let stores = &subject.stores;
    let row = plain("one");
    accept_new(stores, submission(row.clone())).await;
    for round in 1..=ROUNDS {
        let now = read(stores, &row.row_key()).await.unwrap();
        assert_eq!(now.version, round);
        let mut writers = tokio::task::JoinSet::new();
        for n in 0..WRITERS {
            let (stores, step) = (stores.clone(), marked(&now, &format!("writer {n}")));
            writers.spawn(async move { (drive(&stores, step.clone()).await, step.row) });
        }
        let mut winners: Vec<Row> = Vec::new();
        while let Some(done) = writers.join_next().await {
            let (applied, row) = done.unwrap();
            if applied == Applied::Yes {
                winners.push(row);
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        assert_eq!(read(stores, &row.row_key()).await, winners.pop());
    }
}

/// A message's rows come in the order of its parts, and only to its tenant.
pub async fn a_message_is_its_rows(subject: &Subject) {
    let stores = &subject.stores;
    let of = Tenant::default_tenant();
    let head = make::row("head", &of, make::facts("head"), "a@one.example b@two.example c@three.example");
    assert_eq!(head.parts.len(), 3);
    accept_new(stores, submission(head.clone())).await;
    let parts: Vec<Row> = (1..=3)
        .map(|part| {
            let mut row = plain("head");
            row.key = PartKey { message: head.key.message.clone(), part };
            row.domain = Some(head.parts[usize::from(part) - 1].domain.clone());
            row
        })
        .collect();
    let mut split = head.clone();
    split.state = State::Split;
    split.by = Some(job_id("split"));
    split.version += 1;
    let effects = [2, 0, 1].map(|n| Effect::Row(Box::new(parts[n].clone())));
    let step = Step { expect: 1, row: split.clone(), effects: effects.to_vec() };
    assert_eq!(drive(stores, step).await, Applied::Yes);

    let rows = again(|| stores.ledger.message(&of, &head.key.message)).await;
    assert_eq!(rows, [vec![split], parts].concat());
    for (of, id) in [(tenant("other"), head.key.message.clone()), (of, make::message("none"))] {
        assert_eq!(again(|| stores.ledger.message(&of, &id)).await, [], "{id} of {of}");
    }
}
