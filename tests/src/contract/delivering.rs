//! Whole deliveries on one store: workers that claim, send to scripted receivers, die, and settle, with the clock
//! beside them, through the pipeline's own code. Time is virtual.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use posthaste_mail::{PartKey, Reply, Stage, Tenant, Timestamp};
use posthaste_pipeline::ambient::{Ambient, Chance, Clock, PolicyInForce};
use posthaste_pipeline::clock::tick;
use posthaste_pipeline::deliver::Disposition;
use posthaste_pipeline::deliver::claims::{Claimed, Claims};
use posthaste_pipeline::effect::{Effect, EventKind};
use posthaste_pipeline::machine::{CRASHES_MAX, Certainty, Retry, Told, retry_now};
use posthaste_pipeline::meter::Unmetered;
use posthaste_pipeline::row::Queue as Which;
use posthaste_pipeline::row::{End, Facts, Outcome, Promise, Row, State};
use posthaste_policy::retry::Position;
use posthaste_policy::verdict::Class;
use posthaste_policy::{Category, Policy, RuleName, Verdict};

use super::make::{self, submission};
use super::shim::Dice;
use super::{Delivered, Subject, accept_new, again, drive, perform};

/// Messages of one day.
const MESSAGES: usize = 10;
/// Workers side by side.
const WORKERS: usize = 4;
/// Rounds of a minute and a half before a message that is not final is stranded: ten hours, where the slowest of them
/// needs three and lives for a day.
const ROUNDS_MAX: usize = 400;

struct Now(AtomicI64);

impl Clock for Now {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl Chance for Dice {
    fn octets(&self) -> [u8; 16] {
        (u128::from(self.number()) << 64 | u128::from(self.number())).to_be_bytes()
    }

    fn unit(&self) -> f64 {
        (self.number() % 1_000) as f64 / 1_000.0
    }
}

/// What the receivers saw and what the workers did to them.
#[derive(Default)]
struct World {
    /// Tries of each recipient.
    tries: BTreeMap<String, usize>,
    /// Copies each recipient has.
    copies: BTreeMap<String, usize>,
    /// Copies that are excused: the worker died, or lost its lease, after the receiver took one.
    excused: BTreeMap<String, usize>,
    /// Who has each row now, until when. Once its settlement is on its way the next may have it at any moment.
    sending: BTreeMap<PartKey, (u32, Timestamp)>,
}

struct Day {
    subject: Subject,
    ambient: Ambient,
    clock: Arc<Now>,
    dice: Arc<Dice>,
    claims: Claims,
    world: Mutex<World>,
}

/// What the receiver answers, by local part and try: `ok`, `bounce`, `greyN` (N deferrals, then it takes it).
fn answer(local: &str, tries: usize) -> (Stage, Verdict) {
    let refuse =
        |category, class| (Stage::Rcpt, Verdict::by_table(category, class, None, &RuleName::new("script")));
    let deferrals = local.strip_prefix("grey").map_or(0, |n| n.parse().unwrap());
    match local {
        "bounce" => refuse(Category::BadMailbox, Class::Permanent),
        _ if tries < deferrals => refuse(Category::Greylisted, Class::Transient),
        _ => (Stage::Dot, Verdict::delivered()),
    }
}

impl Day {
    fn new(subject: &Subject, seed: u64) -> Arc<Self> {
        let clock = Arc::new(Now(AtomicI64::new(make::T0.0)));
        let dice = Arc::new(Dice::new(seed ^ 0x5eed));
        let policy = PolicyInForce::new(Policy::default());
        let meter = Arc::new(Unmetered);
        let ambient = Ambient { clock: clock.clone(), chance: dice.clone(), policy, meter };
        let claims = Claims::new(ambient.clone(), subject.stores.clone());
        Arc::new(Self { subject: subject.clone(), ambient, clock, dice, claims, world: Mutex::default() })
    }

    fn pass(&self, seconds: u64) {
        self.clock.0.fetch_add(i64::try_from(seconds * 1_000).unwrap(), Ordering::SeqCst);
    }

    /// Talks to the receiver about every recipient that is due.
    async fn send(&self, row: &Row) -> Vec<Told> {
        let now = self.ambient.now();
        {
            let mut world = self.world.lock().unwrap();
            if let Some((claim, lease)) = world.sending.insert(row.key.clone(), (row.claim, row.lease)) {
                assert!(claim != row.claim && lease <= now, "{} is sent twice at once", row.key);
            }
        }
        let mut told = Vec::new();
        for (recipient, known) in row.open_recipients().filter(|(_, known)| known.due <= now) {
            tokio::task::yield_now().await;
            let who = known.address.to_string();
            let mut world = self.world.lock().unwrap();
            let tries = world.tries.entry(who.clone()).or_default();
            *tries += 1;
            let (stage, verdict) = answer(known.address.local(), *tries - 1);
            if stage == Stage::Dot {
                *world.copies.entry(who).or_default() += 1;
            }
            let reply = if stage == Stage::Dot { "250 ok" } else { "451 no" };
            told.push(Told {
                recipient,
                stage,
                host: Some("mx.example.net".to_owned()),
                ip: None,
                tls: None,
                reply: Reply::parse(reply),
                detail: None,
                verdict,
                named_wait: None,
                certainty: Certainty::Known,
                position: Position::First,
            });
        }
        told
    }

    fn let_go(&self, row: &Row) {
        let mut world = self.world.lock().unwrap();
        if world.sending.get(&row.key).is_some_and(|(claim, _)| *claim == row.claim) {
            world.sending.remove(&row.key);
        }
    }

    fn excuse(&self, row: &Row, told: &[Told]) {
        let mut world = self.world.lock().unwrap();
        for told in told.iter().filter(|told| told.stage == Stage::Dot) {
            *world.excused.entry(row.recipients[told.recipient].address.to_string()).or_default() += 1;
        }
    }

    /// Some jobs from receipt to acknowledgement, unless the worker dies.
    async fn work(self: Arc<Self>) {
        let queue = &self.subject.queue;
        let Ok(delivered) = queue.receive(Which::Transactional, self.ambient.now(), 5).await else { return };
        let jobs: Vec<_> = delivered.iter().map(|delivered| delivered.job.clone()).collect();
        if jobs.is_empty() {
            return;
        }
        let claimed = self.claims.claim(&jobs, None).await;
        for (Delivered { receipt, job }, claimed) in delivered.into_iter().zip(claimed) {
            let disposition = match claimed {
                Claimed::Over(disposition) => disposition,
                Claimed::Mine(row) => {
                    let told = self.send(&row).await;
                    if self.dice.one_in(12) {
                        self.excuse(&row, &told);
                        continue;
                    }
                    self.let_go(&row);
                    let disposition = self.claims.settle(&row, &job, &told).await;
                    if disposition != Disposition::Done {
                        self.excuse(&row, &told);
                    }
                    disposition
                }
            };
            // What is lost here comes again when the queue has lost patience.
            let _ = match disposition {
                Disposition::Done => queue.ack(receipt).await,
                Disposition::KeepUntil(until) => queue.keep(receipt, until).await,
                Disposition::Again(job) => queue.keep(receipt, job.due).await,
                Disposition::Dead(reason) => panic!("{job:?} was put aside: {reason}"),
            };
        }
    }

    /// Whether every row there is to be is there and final. What was put aside, since whoever had it was lost too
    /// often, is tried again, as a person would.
    async fn is_over(&self) -> bool {
        let rows = self.rows().await;
        for row in rows.iter().filter(|row| row.crashes >= CRASHES_MAX && row.promise == Promise::Parked) {
            let fresh = self.ambient.job_id();
            if let Ok(Retry::Now(step)) = retry_now(row, &|_| false, self.ambient.now(), fresh) {
                drive(&self.subject.stores, step).await;
            }
        }
        let to_be: usize = rows.iter().filter(|row| row.key.part == 0).map(|row| 1 + row.parts.len()).sum();
        rows.len() == to_be && rows.iter().all(is_final)
    }

    async fn rows(&self) -> Vec<Row> {
        let of = Tenant::default_tenant();
        let mut rows = Vec::new();
        for n in 0..MESSAGES {
            let id = make::message(&format!("message {n}"));
            rows.extend(again(|| self.subject.stores.ledger.message(&of, &id)).await);
        }
        rows
    }
}

/// Whatever crashes, everything that was accepted ends, ends once, and is told once; a copy too many only where a
/// worker was lost between the receiver's word and ours.
pub async fn everything_accepted_ends(subject: &Subject, seed: u64) {
    let day = Day::new(subject, seed);
    let of = Tenant::default_tenant();
    let locals = ["ok", "grey1", "bounce", "grey3", "ok", "grey2"];
    for n in 0..MESSAGES {
        let local = locals[n % locals.len()];
        let recipients = match n % 4 {
            0 => format!("{local}@a{n}.example"),
            1 => format!("{local}@a{n}.example ok@b{n}.example bounce@c{n}.example"),
            2 => format!("{local}@a{n}.example grey1@d{n}.example"),
            _ => format!("{local}@a{n}.example ok@suppressed{n}.example"),
        };
        let name = format!("message {n}");
        let facts = Facts { lifetime_ms: 24 * 3_600_000, ..make::facts(&name) };
        let row = make::row(&name, &of, facts, &recipients);
        let entry = make::suppression(&of, &format!("ok@suppressed{n}.example"), None);
        perform(&subject.stores, vec![Effect::Suppress(entry)]).await;
        accept_new(&subject.stores, submission(row)).await;
    }
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "stranded: {:?}", day.rows().await.iter().find(|row| !is_final(row)));
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..WORKERS {
            workers.spawn(day.clone().work());
        }
        workers.join_all().await;
        let _ = tick(&day.ambient, &subject.stores).await;
        day.pass(day.dice.number() % 180);
        if round % 8 == 0 && day.is_over().await {
            break;
        }
    }
    // What follows the last settlements: jobs that come again replay it.
    for _ in 0..20 {
        day.pass(100);
        day.clone().work().await;
    }
    day.judge().await;
}

fn is_final(row: &Row) -> bool {
    matches!(row.state, State::Done | State::Split)
}

impl Day {
    async fn judge(&self) {
        let of = Tenant::default_tenant();
        for row in self.rows().await {
            let events = again(|| self.subject.stores.feed.of_message(&of, &row.key.message)).await;
            for recipient in &row.recipients {
                let who = recipient.address.to_string();
                let Outcome::Final { end, .. } = recipient.outcome else { panic!("{who} is open: {row:?}") };
                let kind = match end {
                    End::Delivered => EventKind::Delivered,
                    End::Bounced => EventKind::Bounced,
                    End::Suppressed => EventKind::Suppressed,
                    End::Expired | End::Cancelled | End::Ambiguous => panic!("{who} came to {end:?}"),
                };
                let ends: Vec<EventKind> = events
                    .iter()
                    .filter(|event| event.kind != EventKind::Deferred)
                    .filter(|event| event.about.as_ref().is_some_and(|to| to.recipient == recipient.address))
                    .map(|event| event.kind)
                    .collect();
                assert_eq!(ends, [kind], "{who} of {}", row.key);
                self.judge_copies(&who, end);
                if end == End::Bounced {
                    let entries = again(|| {
                        self.subject.stores.suppressions.check(&of, std::slice::from_ref(&recipient.address))
                    });
                    assert_eq!(entries.await[0].len(), 1, "{who} bounced and is not suppressed");
                }
            }
        }
    }

    fn judge_copies(&self, who: &str, end: End) {
        let world = self.world.lock().unwrap();
        let count = |map: &BTreeMap<String, usize>| map.get(who).copied().unwrap_or(0);
        let (copies, excused) = (count(&world.copies), count(&world.excused));
        assert!(copies <= 1 + excused, "{who} has {copies} copies, {excused} excused");
        match end {
            End::Delivered => assert!(copies > 0, "{who} is said to have what it has not"),
            End::Suppressed => assert_eq!(count(&world.tries), 0, "{who} is suppressed and was asked"),
            _ => assert!(copies <= excused, "{who} has a copy and is said to have none"),
        }
    }
}
