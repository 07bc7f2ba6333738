//! The state machine's table as a table of behaviour: each case says all that becomes of a row, and what follows in
//! order. Times are seconds from the acceptance.

mod callers;
mod counted;
mod loss;
mod properties;
mod shown;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use posthaste_mail::{Address, JobId, Lane, MessageId, Reply, ReversePath, Stage, Tenant, Timestamp};
use posthaste_policy::retry::{Position, RetryPolicy};
use posthaste_policy::verdict::Class;
use posthaste_policy::{Action, Category, RuleName, Verdict};

use super::*;
use crate::effect::Step;
use crate::row::{Content, Facts, Guarantee, HeaderCharset, Job, Realm, Row};

fn check(actual: impl AsRef<str>, expected: &str) {
    let actual = actual.as_ref();
    assert!(actual == expected, "\nactual:   {actual}\nexpected: {expected}\n");
}

/// When everything here is accepted.
const T0: Timestamp = Timestamp(1_800_000_000_000);
/// How long it may live.
const LIFETIME: Duration = Duration::from_secs(4 * 3600);

fn at(seconds: i64) -> Timestamp {
    Timestamp(T0.0 + seconds * 1000)
}

fn facts() -> Facts {
    Facts {
        request_hash: "hash".to_owned(),
        spool: "spool".to_owned(),
        size: 1000,
        from: "s@sender.example".to_owned(),
        subject: "subject".to_owned(),
        reverse_path: ReversePath::Null,
        lane: Lane::Transactional,
        tags: BTreeMap::new(),
        accepted_at: T0,
        send_at: None,
        lifetime_ms: u64::try_from(LIFETIME.as_millis()).unwrap(),
        guarantee: Guarantee::AtLeastOnce,
        tls: None,
        content: Content::SevenBit,
        header: HeaderCharset::Ascii,
        realm: Realm::World,
        sender: None,
        bounces: None,
        notices: crate::row::Told::Unwanted,
    }
}

/// As accepted, to `a@x.example b@y.example …`.
fn accepted(facts: Facts, recipients: &str) -> Row {
    let recipients: Vec<Address> =
        recipients.split_whitespace().map(|text| Address::parse(text).unwrap()).collect();
    Row::accepted(MessageId::derived(&[b"m"]), Tenant::default_tenant(), facts, &recipients)
}

fn queued() -> Row {
    accepted(facts(), "a@x.example b@x.example")
}

fn guarded(guarantee: Guarantee) -> Row {
    accepted(Facts { guarantee, ..facts() }, "a@x.example b@x.example")
}

fn job_id(name: &str) -> JobId {
    JobId::derived(&[name.as_bytes()])
}

fn job(row: &Row, name: &str) -> Job {
    row.job(job_id(name))
}

/// What is true around a job, if nothing else is said.
#[derive(Clone, Copy, Default)]
struct Around {
    now: i64,
    suppressed: &'static [usize],
    hold: Option<&'static str>,
}

fn now(now: i64) -> Around {
    Around { now, ..Around::default() }
}

fn claims(row: &Row, job: &Job, around: Around) -> Claim {
    let barred: Vec<Barred> = (0..row.recipients.len())
        .map(|at| if around.suppressed.contains(&at) { Barred::Suppressed } else { Barred::No })
        .collect();
    let mut fresh = || job_id("successor");
    let mut situation =
        Situation { now: at(around.now), barred: &barred, hold: around.hold, fresh: &mut fresh };
    claim(Some(row), job, &mut situation)
}

/// What becomes of a job, in words.
fn claimed(row: &Row, name: &str, around: Around) -> String {
    shown::claim(&claims(row, &job(row, name), around))
}

/// The row after a job has claimed it.
fn sending(row: &Row, name: &str, seconds: i64) -> Row {
    match claims(row, &job(row, name), now(seconds)) {
        Claim::Run(step) => step.row,
        other => panic!("not claimed: {other:?}"),
    }
}

fn verdict(category: Category, class: Class) -> Verdict {
    Verdict::by_table(category, class, None, &RuleName::new("test"))
}

/// One recipient's outcome: `ok`, `451`, `550` (a mailbox that is not there), `421` (a throttle), `again`, `first`
/// (again as the first of its transaction), `used` (the connection was used up), `lost` (at the dot).
fn told(recipient: usize, what: &str) -> Told {
    let (stage, verdict) = match what {
        "ok" => (Stage::Dot, Verdict::delivered()),
        "451" => (Stage::Rcpt, verdict(Category::Other, Class::Transient)),
        "550" => (Stage::Rcpt, verdict(Category::BadMailbox, Class::Permanent)),
        "421" => (Stage::Rcpt, verdict(Category::RateLimited, Class::Transient)),
        "again" | "first" => (Stage::Rcpt, verdict(Category::TooManyRecipients, Class::Transient)),
        "used" => (Stage::Mail, verdict(Category::ConnectionUsedUp, Class::Transient)),
        "lost" => (Stage::Dot, verdict(Category::Network, Class::Transient)),
        other => panic!("no outcome {other}"),
    };
    let reply = (verdict.action != Action::Deliver).then(|| Reply::parse("550 5.1.1 no").unwrap());
    Told {
        recipient,
        stage,
        host: None,
        ip: None,
        tls: None,
        reply,
        detail: None,
        verdict,
        named_wait: None,
        certainty: if what == "lost" { Certainty::Ambiguous } else { Certainty::Known },
        position: if what == "first" { Position::First } else { Position::Later },
    }
}

/// `0 ok, 1 451`.
fn all_told(outcomes: &str) -> Vec<Told> {
    outcomes
        .split(", ")
        .filter(|outcome| !outcome.is_empty())
        .map(|outcome| {
            let (recipient, what) = outcome.split_once(' ').unwrap();
            told(recipient.parse().unwrap(), what)
        })
        .collect()
}

fn settles(row: &Row, name: &str, outcomes: &str, seconds: i64) -> Option<Step> {
    let pace = Pace { retry: &RetryPolicy::default(), jitter: 0.0 };
    let job = job(row, name);
    settle(row, &job, row.claim, &all_told(outcomes), &pace, at(seconds), &mut || job_id("successor"))
}

/// What a job that claimed it as `claim` finds to say when the row is no longer its own.
fn settles_late(row: &Row, name: &str, claim: u32, outcomes: &str, seconds: i64) -> Option<Step> {
    let job = job(row, name);
    settle_late(row, &job, claim, &all_told(outcomes), at(seconds), &mut || job_id("successor"))
}

/// The row after a settlement.
fn settled(row: &Row, name: &str, outcomes: &str, seconds: i64) -> Row {
    settles(row, name, outcomes, seconds).expect("the row is the job's").row
}
