//! The embedded store as a subject, and what only a store on one machine has to show: that it is durable, that it
//! has one owner, and that it lets go of what is old.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_embedded::{Embedded, OpenError, Options, Purged, Received};
use posthaste_mail::{Lane, Tenant, Timestamp, UploadId};
use posthaste_pipeline::effect::{Effect, Step};
use posthaste_pipeline::row::Queue as Which;
use posthaste_pipeline::row::{End, Job, Outcome, Row, State};
use posthaste_pipeline::stores::{Accepted, Applied, SearchBy, StoreError, Stores};
use posthaste_pipeline::stores::{Intake, Ledger, Search, Spool};
use posthaste_pipeline::upload::{KEPT_FOR, OPEN_FOR, UploadOffer, UploadReceived, UploadWay};
use tempfile::TempDir;

use super::make::{self, at, job_id, plain, submission};
use super::{Delivered, Deliveries, Putter, Queue, Subject, accept_new, again, drain, drive, read};

/// The embedded store's queue, with receipts by number.
pub struct EmbeddedQueue {
    store: Embedded,
    last: AtomicU64,
    out: Mutex<HashMap<u64, Received>>,
}

#[async_trait]
impl Queue for EmbeddedQueue {
    async fn receive(&self, lane: Which, now: Timestamp, limit: usize) -> Result<Vec<Delivered>, StoreError> {
        let received = self.store.receive(lane, now, limit).await?;
        let mut out = self.out.lock().unwrap();
        let deliver = |received: Received| {
            let receipt = self.last.fetch_add(1, Ordering::Relaxed);
            let job = received.job.clone();
            out.insert(receipt, received);
            Delivered { receipt, job }
        };
        Ok(received.into_iter().map(deliver).collect())
    }

    async fn ack(&self, receipt: u64) -> Result<(), StoreError> {
        let received = self.out.lock().unwrap().remove(&receipt);
        self.store.ack(received.map(|received| received.receipt));
        Ok(())
    }

    async fn keep(&self, receipt: u64, until: Timestamp) -> Result<(), StoreError> {
        let received = self.out.lock().unwrap().get(&receipt).cloned();
        if let Some(received) = received {
            self.store.keep(&received, until).await?;
            self.out.lock().unwrap().remove(&receipt);
        }
        Ok(())
    }
}

/// Puts bodies straight into the stores that take them.
pub struct StraightIn(pub Stores);

#[async_trait]
impl Putter for StraightIn {
    async fn put(
        &self,
        offer: &UploadOffer,
        way: &UploadWay,
        body: Bytes,
    ) -> Result<UploadReceived, StoreError> {
        assert_eq!(*way, UploadWay::Here);
        self.0.uploads.receive(&offer.id, &offer.token, offer.opened_at, body).await
    }
}

/// A store as a subject.
pub fn subject_of(store: &Embedded) -> Subject {
    let queue = EmbeddedQueue { store: store.clone(), last: AtomicU64::new(0), out: Mutex::default() };
    let stores = store.stores();
    let putter = Arc::new(StraightIn(stores.clone()));
    Subject { stores, queue: Arc::new(queue), deliveries: Deliveries::Once, putter }
}

/// A directory in memory where there is one: no case here takes the power away, and each waits for many a sync.
fn temporary() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

/// A new store in a directory of its own, which lasts as long as its guard.
pub fn fresh() -> (Subject, TempDir) {
    let directory = temporary();
    (subject_of(&open(directory.path())), directory)
}

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default()).unwrap()
}

fn with_state(row: &Row, state: State) -> Row {
    let mut next = row.clone();
    next.version += 1;
    next.state = state;
    next
}

fn sending(row: &Row) -> Row {
    let mut next = with_state(row, State::Sending);
    next.by = Some(job_id("holder"));
    next.lease = at(60);
    next
}

fn done(row: &Row, when: Timestamp) -> Row {
    let mut next = with_state(row, State::Done);
    next.wake = None;
    for recipient in &mut next.recipients {
        recipient.outcome = Outcome::Final { end: End::Delivered, by: None, at: when, copies: 0 };
    }
    next
}

fn step_to(row: Row) -> Step {
    Step { expect: row.version - 1, row, effects: Vec::new() }
}

/// After a stop without a word all that was answered is there; whoever was sending has lost its lease, and its job is
/// visible at once.
pub async fn a_stop_loses_nothing() {
    let directory = temporary();
    let of = Tenant::default_tenant();
    let (taken, waiting) = (submission(plain("taken")), submission(plain("waiting")));
    let held = sending(&taken.row);
    {
        let subject = subject_of(&open(directory.path()));
        for submission in [&taken, &waiting] {
            accept_new(&subject.stores, submission.clone()).await;
        }
        let received = subject.queue.receive(Which::Transactional, at(0), 10).await.unwrap();
        assert_eq!(received.len(), 2);
        for delivered in received {
            if delivered.job.key == taken.row.key {
                subject.queue.keep(delivered.receipt, at(60)).await.unwrap();
            }
        }
        let step = Step {
            effects: vec![
                Effect::Event(Box::new(make::event("told", &held, at(1)))),
                Effect::Suppress(make::suppression(&of, "ann@example.net", None)),
                Effect::DeadLetter(make::letter("dead")),
                Effect::Job(make::job("later", at(900))),
            ],
            ..step_to(held.clone())
        };
        assert_eq!(drive(&subject.stores, step).await, Applied::Yes);
        subject.stores.controls.secret("name", [7; 32]).await.unwrap();
    }
    let subject = subject_of(&open(directory.path()));
    let stores = &subject.stores;
    let row = read(stores, &taken.row.row_key()).await.unwrap();
    assert_eq!(row, Row { version: held.version + 1, lease: Timestamp::default(), ..held });
    assert_eq!(read(stores, &waiting.row.row_key()).await, Some(waiting.row.clone()));
    assert_eq!(stores.spool.open(&taken.row.facts.spool).await.unwrap(), Some(taken.message.clone()));
    let visible: Vec<Job> = drain(&*subject.queue, Lane::Transactional, at(0)).await;
    assert_eq!(visible.len(), 2, "{visible:?}");
    assert_eq!(drain(&*subject.queue, Lane::Transactional, at(900)).await, [make::job("later", at(900))]);
    assert_eq!(stores.feed.of_message(&of, &taken.row.key.message).await.unwrap().len(), 1);
    assert_eq!(
        stores.suppressions.check(&of, &[make::address("ann@example.net")]).await.unwrap()[0].len(),
        1
    );
    assert_eq!(stores.dead_letters.list(None, 10).await.unwrap(), [make::letter("dead")]);
    assert_eq!(stores.controls.secret("name", [8; 32]).await.unwrap(), [7; 32]);
    let found = Search { tenant: of, by: SearchBy::All, after: None, limit: 10 };
    assert_eq!(stores.ledger.find(&found).await.unwrap().ids.len(), 2);
}

/// The files as they are at any moment are a store: what a copy of them has can be read.
pub async fn a_copy_of_the_running_files_opens() {
    let directory = temporary();
    let store = open(directory.path());
    let subject = subject_of(&store);
    for n in 0..20 {
        accept_new(&subject.stores, submission(plain(&format!("before {n}")))).await;
    }
    let writing = tokio::spawn(async move {
        for n in 0..200 {
            accept_new(&subject.stores, submission(plain(&format!("meanwhile {n}")))).await;
        }
    });
    let copy = temporary();
    for file in ["posthaste.sqlite", "posthaste.sqlite-wal"] {
        std::fs::copy(directory.path().join(file), copy.path().join(file)).unwrap();
    }
    let copied = open(copy.path());
    for n in 0..20 {
        let row = plain(&format!("before {n}"));
        assert_eq!(copied.read(&[row.row_key()]).await.unwrap(), [Some(row)]);
    }
    writing.await.unwrap();
    store.close().await.unwrap();
}

/// A store has one owner; a closed one has none, says so, and has left no log behind.
pub async fn a_store_has_one_owner() {
    let directory = temporary();
    let store = open(directory.path());
    let second = Embedded::open(directory.path(), Options::default());
    assert!(matches!(second, Err(OpenError::InUse(_))), "a second owner got in");
    accept_new(&store.stores(), submission(plain("one"))).await;
    store.close().await.unwrap();
    assert!(!directory.path().join("posthaste.sqlite-wal").exists());
    let refused = store.accept(vec![submission(plain("two"))]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let refused = store.message(&Tenant::default_tenant(), &make::message("one")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let next = open(directory.path());
    assert_eq!(next.read(&[plain("one").row_key()]).await.unwrap(), [Some(plain("one"))]);
}

/// A process that is killed in the middle of its work has kept every promise it made.
pub async fn what_is_acknowledged_survives_a_kill(test: &str) {
    const CHILD: &str = "POSTHASTE_TEST_KILLED_IN";
    const ACKNOWLEDGED: usize = 1_000;
    if let Ok(directory) = std::env::var(CHILD) {
        return accept_for_ever(Path::new(&directory)).await;
    }
    let directory = temporary();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut names = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        names.extend(line.unwrap().strip_prefix("acknowledged ").map(str::to_owned));
        if names.len() == ACKNOWLEDGED {
            // What it still says before it dies counts too.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(names.len() >= ACKNOWLEDGED, "it ended by itself after {}", names.len());

    let subject = subject_of(&open(directory.path()));
    let jobs = drain(&*subject.queue, Lane::Transactional, at(0)).await;
    let jobs: HashMap<_, _> = jobs.into_iter().map(|job| (job.key.clone(), job)).collect();
    for name in names {
        let expected = submission(plain(&name));
        assert_eq!(read(&subject.stores, &expected.row.row_key()).await.as_ref(), Some(&expected.row));
        let octets = again(|| subject.stores.spool.open(&expected.row.facts.spool)).await;
        assert_eq!(octets, Some(expected.message));
        assert_eq!(jobs.get(&expected.row.key), expected.job.as_ref());
    }
}

async fn accept_for_ever(directory: &Path) {
    let store = open(directory);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..16 {
        let store = store.clone();
        clients.spawn(async move {
            for n in 0.. {
                let name = format!("{client}-{n}");
                assert_eq!(store.accept(vec![submission(plain(&name))]).await.unwrap(), [Accepted::New]);
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {name}").unwrap();
                out.flush().unwrap();
            }
        });
    }
    clients.join_all().await;
}

/// A body that was uploaded, and an offer that nobody took, go when their time is over.
pub async fn old_uploads_go() {
    let directory = temporary();
    let store = open(directory.path());
    let stores = store.stores();
    let offer = |name: &str, opened_at: Timestamp| UploadOffer {
        tenant: Tenant::default_tenant(),
        id: UploadId::derived(&[name.as_bytes()]),
        octets: 1,
        token: name.to_owned(),
        opened_at,
        closes_at: opened_at.plus(OPEN_FOR),
    };
    let old: Vec<UploadOffer> = (0..10).map(|n| offer(&format!("old {n}"), at(0))).collect();
    let new = offer("new", at(1));
    for offer in old.iter().chain([&new]) {
        stores.uploads.offer(offer).await.unwrap();
        let put = stores.uploads.receive(&offer.id, &offer.token, offer.opened_at, Bytes::from_static(b"x"));
        assert_eq!(put.await.unwrap(), UploadReceived::Stored);
    }
    let keep = Duration::from_secs(86_400);
    let purged = store.purge(make::T0.plus(KEPT_FOR), keep, keep).await.unwrap();
    assert_eq!(purged, Purged { uploads: 10, ..Purged::default() });
    assert_eq!(stores.uploads.size(&old[0].tenant, &old[0].id).await.unwrap(), None);
    assert_eq!(stores.uploads.size(&new.tenant, &new.id).await.unwrap(), Some(1));
    // An offer has its time, too.
    let late = offer("late", at(0));
    stores.uploads.offer(&late).await.unwrap();
    assert_eq!(stores.uploads.expected(&late.id, &late.token, late.closes_at).await.unwrap(), None);
}

/// Old messages go, octets before rows, and only when every part is final; numbers are never used again.
pub async fn what_is_old_goes() {
    const DAY: Duration = Duration::from_secs(86_400);
    let directory = temporary();
    let of = Tenant::default_tenant();
    let store = open(directory.path());
    let stores = store.stores();
    let write = async |row: Row, effects: Vec<Effect>| {
        assert_eq!(drive(&stores, Step { effects, ..step_to(row) }).await, Applied::Yes);
    };
    // 100 that are done, more than one batch; one of two parts of which one is open; one that is open.
    for n in 0..100 {
        let row = plain(&format!("done {n}"));
        accept_new(&stores, submission(row.clone())).await;
        let told = make::event(&format!("done {n}"), &row, at(1));
        write(done(&row, at(1)), vec![Effect::Event(Box::new(told))]).await;
    }
    let head = make::row("head", &of, make::facts("head"), "a@one.example b@two.example");
    accept_new(&stores, submission(head.clone())).await;
    let parts: Vec<Row> = [1, 2]
        .map(|part| {
            let mut row = plain("head");
            row.key.part = part;
            row
        })
        .to_vec();
    let effects = parts.iter().map(|part| Effect::Row(Box::new(part.clone()))).collect();
    write(Row { wake: None, ..with_state(&head, State::Split) }, effects).await;
    write(done(&parts[0], at(1)), Vec::new()).await;
    accept_new(&stores, submission(plain("open"))).await;

    let purge = async |days: u32| store.purge(make::T0.plus(DAY * days), DAY * 30, DAY * 3).await.unwrap();
    let nothing = Purged::default();
    assert_eq!(purge(2).await, nothing);
    assert_eq!(purge(4).await, Purged { spooled: 100, ..nothing });
    assert_eq!(purge(4).await, nothing);
    assert_eq!(store.open(&plain("done 1").facts.spool).await.unwrap(), None);
    assert!(store.open("head-1").await.unwrap().is_some());
    let cursor = again(|| stores.feed.latest(&of)).await;
    assert_eq!(purge(31).await, Purged { messages: 100, events: 100, ..nothing });
    assert_eq!(read(&stores, &plain("done 1").row_key()).await, None);
    assert_eq!(read(&stores, &parts[0].row_key()).await.map(|row| row.state), Some(State::Done));

    write(done(&parts[1], make::T0.plus(DAY * 20)), Vec::new()).await;
    assert_eq!(purge(31).await, Purged { spooled: 1, ..nothing });
    assert_eq!(purge(51).await, Purged { messages: 1, ..nothing });
    let found = Search { tenant: of.clone(), by: SearchBy::All, after: None, limit: 1_000 };
    assert_eq!(store.find(&found).await.unwrap().ids, [make::message("open")]);

    accept_new(&stores, submission(plain("done 1"))).await;
    store.close().await.unwrap();
    let stores = open(directory.path()).stores();
    let told = make::event("new", &plain("done 1"), at(2));
    super::perform(&stores, vec![Effect::Event(Box::new(told))]).await;
    assert!(again(|| stores.feed.latest(&of)).await > cursor, "a cursor was used twice");
}

/// More jobs than memory keeps all come, in order, also those put while others are out.
pub async fn a_long_line_keeps_its_order() {
    let directory = temporary();
    let store = open(directory.path());
    let stores = store.stores();
    // Times go up and down, so that the head of the line changes while it is longer than memory.
    let due = |n: u64| at(1 + (n * 7_919) % 6_000);
    let mut held = Vec::new();
    for batch in 0..12 {
        let jobs: Vec<Job> =
            (0..500).map(|n| batch * 500 + n).map(|n| make::job(&n.to_string(), due(n))).collect();
        again(|| stores.later.put(jobs.clone())).await;
        held.extend(store.receive(Which::Transactional, at(40), 3).await.unwrap());
    }
    let mut came = Vec::new();
    loop {
        let received = store.receive(Which::Transactional, at(6_000), 512).await.unwrap();
        if received.is_empty() {
            break;
        }
        came.extend(received.iter().map(|received| received.job.due));
        store.ack(received.iter().map(|received| received.receipt));
    }
    assert_eq!(came.len() + held.len(), 6_000);
    assert!(came.is_sorted(), "out of order");
    assert!(held.iter().all(|held| held.job.due <= at(40)));
    store.ack(held.iter().map(|held| held.receipt));
    store.flush().await.unwrap();
    assert_eq!(store.in_flight(), 0);
    assert_eq!(store.next_due(Which::Transactional), None);
}

/// A job that is out does not come a second time when the head of its line becomes longer than memory again.
pub async fn a_job_that_is_out_stays_out() {
    let directory = temporary();
    let store = open(directory.path());
    let stores = store.stores();
    let put = async |from: u64, due: Timestamp| {
        for batch in 0..10 {
            let numbers = (0..500).map(|n| from + batch * 500 + n);
            let jobs: Vec<Job> = numbers.map(|n| make::job(&n.to_string(), due)).collect();
            again(|| stores.later.put(jobs.clone())).await;
        }
    };
    put(0, at(50)).await;
    let out = store.receive(Which::Transactional, at(100), 100).await.unwrap();
    assert_eq!(out.len(), 100);
    // All before those that are out, and more than memory has room for.
    put(5_000, at(10)).await;
    let came = drain(&*subject_of(&store).queue, Lane::Transactional, at(100)).await;
    assert_eq!(came.len(), 9_900);
    assert!(out.iter().all(|out| !came.contains(&out.job)));
}
