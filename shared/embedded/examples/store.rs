//! How much the store takes: accept, claim, settle with an event, acknowledge, 10 KB a message; each operation awaited
//! on its own, and with deliveries in batches, as a host does them. Prints messages a second and CPU seconds per 1,000.
//!
//! `cargo run --release -p posthaste-embedded --example store [MESSAGES [DIRECTORY]]`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use posthaste_embedded::{Embedded, Options, Received};
use posthaste_mail::{Address, EventId, JobId, Lane, MessageId, PartKey, ReversePath, Tenant, Timestamp};
use posthaste_pipeline::effect::{About, Effect, Event, EventKind, Step};
use posthaste_pipeline::row::Queue as Which;
use posthaste_pipeline::row::{
    Cancel, Content, Dot, End, Facts, Guarantee, HeaderCharset, Job, Outcome, Promise, Realm, Recipient, Row,
    RowKey, State,
};
use posthaste_pipeline::stores::{Acceptance, Accepted, Applied, Intake, Ledger, Spool};

/// Octets of a message.
const BODY_OCTETS: usize = 10_240;
const NOW: Timestamp = Timestamp(1_795_000_000_000);

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let messages = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    let directory = arguments.next().map_or_else(|| std::env::temp_dir().join("store-bench"), PathBuf::from);
    for way in [Way::OneByOne { clients: 20 }, Way::OneByOne { clients: 64 }, Way::InBatches { clients: 20 }]
    {
        let _ = std::fs::remove_dir_all(&directory);
        let store = Embedded::open(&directory, Options::default())?;
        let (began, cpu) = (Instant::now(), cpu_seconds()?);
        match way {
            Way::OneByOne { clients } => one_by_one(&store, clients, messages).await?,
            Way::InBatches { clients } => in_batches(&store, clients, messages).await?,
        }
        store.flush().await?;
        let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
        println!(
            "{way:?}: {:.0} messages/s, {:.3} CPU s per 1,000, {} KB resident",
            messages as f64 / took,
            cpu * 1_000.0 / messages as f64,
            resident_kb()?,
        );
        store.close().await?;
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// Who does what at once.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Each client accepts a message, then delivers one: every operation is its own.
    OneByOne { clients: usize },
    /// Clients accept one by one; beside them messages are delivered 32 at a time.
    InBatches { clients: usize },
}

/// Does `work` with the numbers below `messages`, so many at once.
async fn side_by_side<F>(
    clients: usize,
    messages: usize,
    work: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send,
{
    let given = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (given, work) = (given.clone(), work.clone());
        tasks.spawn(async move {
            loop {
                let n = given.fetch_add(1, Ordering::Relaxed);
                if n >= messages {
                    return Ok::<_, Failure>(());
                }
                work(n).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn one_by_one(store: &Embedded, clients: usize, messages: usize) -> Result<(), Failure> {
    let (store, body) = (store.clone(), Bytes::from(vec![b'x'; BODY_OCTETS]));
    side_by_side(clients, messages, move |n| {
        let (store, body) = (store.clone(), body.clone());
        async move {
            accept(&store, n, &body).await?;
            let received = store.receive(Which::Transactional, NOW, 1).await?;
            if received.is_empty() {
                return Err("no job".into());
            }
            deliver(&store, received).await
        }
    })
    .await
}

async fn in_batches(store: &Embedded, clients: usize, messages: usize) -> Result<(), Failure> {
    let delivering = tokio::spawn({
        let store = store.clone();
        async move {
            let mut delivered = 0;
            let mut batches = tokio::task::JoinSet::new();
            while delivered < messages {
                let received = store.receive(Which::Transactional, NOW, 32).await?;
                if received.is_empty() {
                    store.arrival(Which::Transactional).await;
                    continue;
                }
                delivered += received.len();
                let store = store.clone();
                batches.spawn(async move { deliver(&store, received).await });
                if batches.len() >= 4 {
                    batches.join_next().await.transpose()?.transpose()?;
                }
            }
            while let Some(done) = batches.join_next().await {
                done??;
            }
            Ok::<_, Failure>(())
        }
    });
    let (accepting, body) = (store.clone(), Bytes::from(vec![b'x'; BODY_OCTETS]));
    side_by_side(clients, messages, move |n| {
        let (store, body) = (accepting.clone(), body.clone());
        async move { accept(&store, n, &body).await }
    })
    .await?;
    delivering.await?
}

async fn accept(store: &Embedded, n: usize, body: &Bytes) -> Result<(), Failure> {
    let (row, job) = submission(n)?;
    let accepted = store.accept(vec![Acceptance { row, message: body.clone(), job: Some(job) }]).await?;
    if accepted == [Accepted::New] { Ok(()) } else { Err(format!("{accepted:?}").into()) }
}

/// Claims, reads, settles and acknowledges a batch.
async fn deliver(store: &Embedded, received: Vec<Received>) -> Result<(), Failure> {
    let keys: Vec<RowKey> = received.iter().map(|received| received.job.row_key()).collect();
    let mut rows: Vec<Row> = store.read(&keys).await?.into_iter().flatten().collect();
    for (row, received) in rows.iter_mut().zip(&received) {
        row.state = State::Sending;
        row.by = Some(received.job.id.clone());
        row.lease = NOW.plus(Duration::from_secs(60));
    }
    write(store, &mut rows, |_| Vec::new()).await?;
    for row in &mut rows {
        if store.open(&row.facts.spool).await?.map(|body| body.len()) != Some(BODY_OCTETS) {
            return Err("no message".into());
        }
        row.state = State::Done;
        row.wake = None;
        let by = row.by.take();
        row.recipients[0].outcome = Outcome::Final { end: End::Delivered, by, at: NOW, copies: 0 };
    }
    write(store, &mut rows, |row| vec![Effect::Event(Box::new(delivered(row)))]).await?;
    store.ack(received.iter().map(|received| received.receipt));
    Ok(())
}

fn delivered(row: &Row) -> Event {
    Event {
        event_id: EventId::derived(&[row.key.message.as_str().as_bytes()]),
        kind: EventKind::Delivered,
        tenant: row.tenant.clone(),
        about: Some(About {
            message_id: row.key.message.clone(),
            recipient: row.recipients[0].address.clone(),
            lane: row.facts.lane,
        }),
        tags: row.facts.tags.clone(),
        at: NOW,
        attempt: None,
        next_attempt_at: None,
        site: None,
        domain: None,
    }
}

async fn write(
    store: &Embedded,
    rows: &mut [Row],
    effects: impl Fn(&Row) -> Vec<Effect>,
) -> Result<(), Failure> {
    let mut steps = Vec::with_capacity(rows.len());
    for row in rows {
        let expect = row.version;
        row.version += 1;
        steps.push(Step { expect, row: row.clone(), effects: effects(row) });
    }
    let applied = store.apply(steps).await?;
    if applied.iter().all(|applied| *applied == Applied::Yes) {
        Ok(())
    } else {
        Err(format!("{applied:?}").into())
    }
}

fn submission(n: usize) -> Result<(Row, Job), Failure> {
    let id = MessageId::derived(&[&n.to_be_bytes()]);
    let key = PartKey { message: id.clone(), part: 0 };
    let tenant = Tenant::default_tenant();
    let recipient = Address::parse(&format!("ann{n}@example.net"))?;
    let facts = Facts {
        request_hash: id.as_str().to_owned(),
        spool: format!("{tenant}/{id}"),
        size: BODY_OCTETS as u64,
        from: "Acme <hello@acme.example>".to_owned(),
        subject: "Your order has been sent".to_owned(),
        reverse_path: ReversePath::parse("bounces@acme.example")?,
        lane: Lane::Transactional,
        tags: BTreeMap::from([("release".to_owned(), "v42".to_owned())]),
        accepted_at: NOW,
        send_at: None,
        lifetime_ms: 86_400_000,
        guarantee: Guarantee::AtLeastOnce,
        tls: None,
        content: Content::SevenBit,
        header: HeaderCharset::Ascii,
        realm: Realm::World,
        sender: None,
        bounces: None,
        notices: posthaste_pipeline::row::Told::Unwanted,
    };
    let expires = NOW.plus(Duration::from_secs(86_400));
    let job = Job {
        id: JobId::derived(&[&n.to_be_bytes()]),
        key: key.clone(),
        seq: 1,
        tenant: tenant.clone(),
        lane: Lane::Transactional,
        domain: Some(recipient.domain().clone()),
        realm: Realm::World,
        tls: None,
        due: NOW,
        expires,
        recipients: 1,
        sender: None,
        ticket: None,
        track: posthaste_pipeline::row::Track::Own,
    };
    let row = Row {
        key,
        tenant,
        version: 1,
        facts: Arc::new(facts),
        domain: Some(recipient.domain().clone()),
        parts: Vec::new(),
        state: State::Queued,
        seq: 1,
        claim: 0,
        by: None,
        lease: Timestamp::default(),
        due: NOW,
        promise: Promise::Job,
        wake: Some(NOW.plus(Duration::from_secs(600))),
        expires,
        crashes: 0,
        hold: None,
        cancel: Cancel::No,
        dot: Dot::Before,
        ticket: None,
        site: None,
        settlements: Vec::new(),
        recipients: vec![Recipient::new(recipient, NOW)],
    };
    Ok((row, job))
}

/// User and system time of this process. The kernel counts in hundredths of a second (proc(5), `stat`).
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

fn resident_kb() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0))
}
