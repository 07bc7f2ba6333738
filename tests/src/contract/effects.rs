//! What follows a step, once and again.

use posthaste_mail::{Lane, Tenant, Timestamp};
use posthaste_pipeline::effect::{Effect, Step, Suppression};
use posthaste_pipeline::row::Realm;
use posthaste_pipeline::stores::Applied;

use super::make::{self, at, plain, submission, suppression};
use super::{Subject, accept_new, again, drain, drive, perform, read};

/// Effects done again and again leave what they left the first time.
pub async fn effects_can_be_done_again(subject: &Subject) {
    let Subject { stores, queue, .. } = subject;
    let row = plain("one");
    accept_new(stores, submission(row.clone())).await;
    drain(&**queue, Lane::Transactional, at(0)).await;

    let event = make::event("told", &row, at(1));
    let entry = suppression(&row.tenant, "ann@example.net", Some(at(90)));
    let successor = make::job("successor", at(5));
    let effects = vec![
        Effect::Row(Box::new(plain("part"))),
        Effect::Suppress(entry.clone()),
        Effect::Job(successor.clone()),
        Effect::Event(Box::new(event.clone())),
        Effect::DeadLetter(make::letter("dead")),
    ];
    let mut next = row.clone();
    next.version = 2;
    assert_eq!(drive(stores, Step { expect: 1, row: next, effects: effects.clone() }).await, Applied::Yes);
    for _ in 0..3 {
        perform(stores, effects.clone()).await;
    }

    let events = again(|| stores.feed.after(&row.tenant, 0, 10)).await;
    assert_eq!(events.iter().map(|(_, event)| event).collect::<Vec<_>>(), [&event]);
    assert_eq!(again(|| stores.feed.of_message(&row.tenant, &row.key.message)).await, [event]);
    assert_eq!(again(|| stores.suppressions.list(&row.tenant, None, 10)).await, [entry]);
    assert_eq!(again(|| stores.dead_letters.list(None, 10)).await, [make::letter("dead")]);
    assert_eq!(read(stores, &plain("part").row_key()).await, Some(plain("part")));
    let jobs = drain(&**queue, Lane::Transactional, at(5)).await;
    assert!(!jobs.is_empty() && jobs.iter().all(|job| *job == successor), "{jobs:?}");
}

/// When an effect can be seen, its row can: whoever looks meanwhile never finds a job or an event of a row that was
/// not written.
pub async fn the_row_comes_before_its_effects(subject: &Subject) {
    let Subject { stores, queue, .. } = subject;
    const STEPS: u64 = 30;
    let row = plain("one");
    accept_new(stores, submission(row.clone())).await;
    drain(&**queue, Lane::Transactional, at(0)).await;
    let writer = tokio::spawn({
        let (stores, mut row) = (stores.clone(), row.clone());
        async move {
            for version in 2..=STEPS {
                row.version = version;
                let told =
                    make::event(&version.to_string(), &row, Timestamp(i64::try_from(version).unwrap()));
                let effects = vec![Effect::Event(Box::new(told))];
                let step = Step { expect: version - 1, row: row.clone(), effects };
                assert_eq!(drive(&stores, step).await, Applied::Yes);
            }
        }
    });
    let mut seen = 0;
    while seen < i64::try_from(STEPS).unwrap() {
        let events = again(|| stores.feed.of_message(&row.tenant, &row.key.message)).await;
        let now = read(stores, &row.row_key()).await.unwrap();
        seen = events.iter().map(|event| event.at.0).max().unwrap_or(0);
        assert!(now.version >= u64::try_from(seen).unwrap(), "{} before {seen}", now.version);
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

/// An entry of the list that lasts longer stays; lanes and realms have entries of their own.
pub async fn a_longer_suppression_stays(subject: &Subject) {
    let stores = &subject.stores;
    let of = Tenant::default_tenant();
    let who = make::address("Ann@example.net");
    let check = async |put: Suppression, expected: &[Option<Timestamp>]| {
        perform(stores, vec![Effect::Suppress(put)]).await;
        let entries =
            again(|| stores.suppressions.check(&of, std::slice::from_ref(&who))).await.pop().unwrap();
        let mut lasting: Vec<Option<Timestamp>> = entries.iter().map(|entry| entry.expires_at).collect();
        lasting.sort();
        assert_eq!(lasting, expected);
    };
    let until = |seconds| suppression(&of, "ann@example.net", Some(at(seconds)));
    check(until(10), &[Some(at(10))]).await;
    check(until(90), &[Some(at(90))]).await;
    check(until(30), &[Some(at(90))]).await;
    check(suppression(&of, "ANN@example.net", None), &[None]).await;
    check(until(500), &[None]).await;
    check(Suppression { lane: Some(Lane::Bulk), ..until(20) }, &[None, Some(at(20))]).await;
    check(Suppression { realm: Realm::Sandbox, ..until(30) }, &[None, Some(at(20)), Some(at(30))]).await;
    again(|| stores.suppressions.put(until(5))).await;
    check(until(5), &[Some(at(5)), Some(at(20)), Some(at(30))]).await;
}
