//! The virtual world: a clock that jumps from event to event, messages, workers and receivers. What is decided (who may
//! send when, what a refusal means, when to try again) is decided by the policy crate, as in delivery.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use posthaste_mail::{Domain, Lane, Reply, Stage, Tenant, Timestamp};
use posthaste_policy::classify::{Classifier, Observed};
use posthaste_policy::pacing::book::Book;
use posthaste_policy::pacing::line::Line;
use posthaste_policy::standing::Standing;
use posthaste_policy::trouble::{Trouble, verdict_of};
use posthaste_policy::{Hosts, Limits, Place, Policy, SiteName, Verdict};

use super::chance::Chance;
use super::crew::Crew;
use super::receiver::{Answer, Receiver};
use super::requests::Requests;
use super::scenario::Scenario;

/// When the story begins, in milliseconds since the epoch: any day will do.
pub(super) const BEGINNING: i64 = 1_800_000_000_000;
/// No place in line.
pub(super) const NO_TICKET: u32 = u32::MAX;
/// Points of the curve of what waits.
const SAMPLES: u32 = 48;

/// One message; its id is its place.
pub(super) struct Message {
    pub receiver: u16,
    pub mail: u16,
    pub accepted: i64,
    /// When a receiver first saw it; 0: none did.
    pub seen: i64,
    pub ticket: u32,
    pub tries: u8,
    pub throttles: u8,
    pub state: State,
    /// Jobs that are older are dropped.
    pub seq: u8,
    /// Whether a job has it.
    pub claimed: bool,
}

/// A message, and the `seq` its job was made with.
pub(super) type Job = (u32, u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Delivered,
    Bounced,
    Expired,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The next message of a stream comes in.
    Arrive(u16),
    /// A job is due.
    Ready(u32, u8),
    /// A connection begins its transaction.
    Send {
        worker: u16,
        receiver: u16,
        line: u32,
        job: Job,
    },
    /// The receiver has answered.
    Done {
        worker: u16,
        receiver: u16,
        line: u32,
        message: u32,
        answer: u8,
    },
    /// A worker looks at what it has in hand.
    Look {
        worker: u16,
        receiver: u16,
    },
    Crash,
    Stall,
    Sample,
}

/// What is known of one site from one egress, as the stores keep it.
pub(super) struct Site {
    pub name: SiteName,
    pub domain: Domain,
    pub limits: Limits,
    pub book: Book,
    pub standing: Standing,
    pub lines: HashMap<(Lane, u16), Line>,
    pub slowed: u32,
}

/// One point of the curve.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Sample {
    pub at_s: f64,
    pub waiting: u64,
    pub oldest_s: f64,
}

/// See the module.
pub(super) struct World {
    pub scenario: Scenario,
    pub policy: Policy,
    pub chance: Chance,
    pub now: i64,
    queue: BinaryHeap<Reverse<(i64, u64, Event)>>,
    events: u64,
    pub messages: Vec<Message>,
    pub receivers: Vec<Receiver>,
    pub sites: Vec<Site>,
    pub crews: Vec<Vec<Crew>>,
    /// Each worker's clock is off by so much, in microseconds, and it stands still until then.
    pub skew: Vec<i64>,
    pub asleep_until: Vec<i64>,

    /// The tenant of each stream, by its place.
    pub tenant_of: Vec<u16>,
    left_to_arrive: Vec<u64>,
    shares: Vec<Vec<(f64, u16)>>,
    pub open: u64,
    pub requests: Requests,
    pub samples: Vec<Sample>,
    /// The oldest message that still waits is not older than this one.
    oldest: usize,
    pub verdicts: BTreeMap<u8, Verdict>,
    pub network: Verdict,
    pub too_many_connections: Verdict,
    pub categories: BTreeMap<String, u64>,
    pub attempts: u64,
    /// Messages that were taken by a receiver and not settled: their worker died.
    pub copies: u64,
    pub ended_at: i64,
    pub waits_us: Vec<u32>,
}

impl World {
    pub fn new(scenario: Scenario, policy: Policy) -> Result<Self, String> {
        let classifier = Classifier::new(&policy.verdicts).map_err(|error| format!("policy: {error}"))?;
        let said = |code: u16, text: &str, stage: Stage| {
            let reply = Reply::new(code, &[text.to_owned()]);
            classifier.classify(&Observed { stage, reply: &reply, mx_host: None, recipients: 1 })
        };
        let verdicts = BTreeMap::from([
            (Answer::Taken as u8, Verdict::delivered()),
            (
                Answer::TooFast as u8,
                said(451, "4.7.28 unusual rate of mail from your IP address, slow down", Stage::Mail),
            ),
            (Answer::ComeBack as u8, said(451, "4.7.1 greylisted, please try again later", Stage::Rcpt)),
            (Answer::NoSuchMailbox as u8, said(550, "5.1.1 user unknown", Stage::Rcpt)),
        ]);
        let too_many_connections =
            said(421, "4.7.0 too many concurrent connections from your host", Stage::Banner);
        let mut chance = Chance::new(scenario.seed);
        let skew_us = micros(scenario.workers.skew);
        let skew = (0..scenario.workers.count)
            .map(|_| ((chance.unit() * 2.0 - 1.0) * skew_us as f64) as i64)
            .collect();
        let sites = sites(&scenario, &policy)?;
        let mut tenants: Vec<Tenant> =
            scenario.mail.iter().filter_map(|mail| Tenant::parse(&mail.tenant)).collect();
        tenants.sort();
        tenants.dedup();
        let tenant_of = scenario
            .mail
            .iter()
            .map(|mail| tenants.iter().position(|tenant| tenant.as_str() == mail.tenant).unwrap_or(0) as u16)
            .collect();
        let shares = scenario.mail.iter().map(|mail| cumulative(&scenario, &mail.to)).collect();
        let crews = (0..scenario.workers.count)
            .map(|_| scenario.receiver.iter().map(|_| Crew::default()).collect())
            .collect();
        let all = scenario.messages();
        Ok(Self {
            left_to_arrive: scenario.mail.iter().map(|mail| mail.messages).collect(),
            asleep_until: vec![0; scenario.workers.count],
            receivers: scenario.receiver.iter().map(|is| Receiver::new(is.clone())).collect(),
            messages: Vec::with_capacity(usize::try_from(all).unwrap_or(0)),
            scenario,
            policy,
            chance,
            now: 0,
            queue: BinaryHeap::new(),
            events: 0,
            sites,
            crews,
            skew,

            tenant_of,
            shares,
            open: 0,
            requests: Requests::default(),
            samples: Vec::new(),
            oldest: 0,
            verdicts,
            network: verdict_of(&Trouble::ConnectTimedOut),
            too_many_connections,
            categories: BTreeMap::new(),
            attempts: 0,
            copies: 0,
            ended_at: 0,
            waits_us: Vec::new(),
        })
    }

    /// A point in the story as delivery has it, by a worker's clock.
    pub fn at(&self, micros: i64) -> Timestamp {
        Timestamp(BEGINNING + micros.div_euclid(1_000))
    }

    pub fn after(&mut self, wait: i64, event: Event) {
        self.events += 1;
        self.queue.push(Reverse((self.now.saturating_add(wait.max(0)), self.events, event)));
    }

    /// Runs to the end; tells how far it has come now and then.
    pub fn run(&mut self, mut progress: impl FnMut(i64, u64)) {
        for stream in 0..self.scenario.mail.len() {
            let starts = micros(self.scenario.mail[stream].starts);
            self.after(starts, Event::Arrive(stream as u16));
        }
        let workers = &self.scenario.workers;
        let (crash, stall) = (workers.crash_every, workers.stall_every);
        crash.into_iter().for_each(|every| self.after(micros(every), Event::Crash));
        stall.into_iter().for_each(|every| self.after(micros(every), Event::Stall));
        self.after(0, Event::Sample);
        let end = micros(self.scenario.ends_after);
        while let Some(Reverse((at, _, event))) = self.queue.pop() {
            if at > end || self.is_over() {
                break;
            }
            self.now = at;
            match event {
                Event::Arrive(stream) => self.arrive(stream),
                Event::Ready(message, seq) => self.ready(message, seq),
                Event::Send { worker, receiver, line, job } => self.send(worker, receiver, line, job),
                Event::Done { worker, receiver, line, message, answer } => {
                    self.done(worker, receiver, line, message, answer);
                }
                Event::Look { worker, receiver } => self.looks(worker, receiver),
                Event::Crash => self.crash(),
                Event::Stall => self.stall(),
                Event::Sample => {
                    self.sample();
                    progress(self.now, self.open);
                }
            }
        }
        self.ended_at = self.ended_at.max(if self.is_over() { 0 } else { end });
        self.sample();
    }

    fn is_over(&self) -> bool {
        self.open == 0 && self.left_to_arrive.iter().all(|left| *left == 0)
    }

    fn arrive(&mut self, stream: u16) {
        let nth = usize::from(stream);
        let mail = &self.scenario.mail[nth];
        let (over, all) = (micros(mail.over), mail.messages);
        // Those that come in the same instant come together: a request carries many.
        let apart = over / i64::try_from(all.max(1)).unwrap_or(i64::MAX);
        let together = if apart == 0 { 500 } else { 1 };
        for _ in 0..self.left_to_arrive[nth].min(together) {
            self.left_to_arrive[nth] -= 1;
            let pick = self.chance.unit();
            let receiver = self.shares[nth].iter().find(|(upto, _)| pick <= *upto).map_or(0, |(_, at)| *at);
            let id = self.messages.len() as u32;
            self.messages.push(Message {
                receiver,
                mail: stream,
                accepted: self.now,
                seen: 0,
                ticket: NO_TICKET,
                tries: 0,
                throttles: 0,
                state: State::Waiting,
                seq: 0,
                claimed: false,
            });
            self.open += 1;
            self.requests.accepted();
            self.after(0, Event::Ready(id, 0));
        }
        if self.left_to_arrive[nth] > 0 {
            self.after(apart.max(if together > 1 { 100_000 } else { 1 }), Event::Arrive(stream));
        }
    }

    fn sample(&mut self) {
        while self.messages.get(self.oldest).is_some_and(|message| message.state != State::Waiting) {
            self.oldest += 1;
        }
        let oldest = self.messages.get(self.oldest).map_or(self.now, |message| message.accepted);
        let seconds = |micros: i64| micros as f64 / 1e6;
        self.samples.push(Sample {
            at_s: seconds(self.now),
            waiting: self.open,
            oldest_s: seconds(self.now - oldest),
        });
        // Denser at the beginning, where most happens: each step a twelfth of what has passed, a minute at least.
        let step = (self.now / 12).max(60_000_000);
        if self.samples.len() < (SAMPLES * 4) as usize {
            self.after(step, Event::Sample);
        }
    }
}

pub(super) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Which receiver a number from 0 to 1 means.
fn cumulative(scenario: &Scenario, to: &[String]) -> Vec<(f64, u16)> {
    let meant = |name: &String| to.is_empty() || to.contains(name);
    let all: f64 = scenario.receiver.iter().filter(|r| meant(&r.name)).map(|r| r.share).sum();
    let mut upto = 0.0;
    let mut shares = Vec::new();
    for (nth, receiver) in scenario.receiver.iter().enumerate().filter(|(_, r)| meant(&r.name)) {
        upto += receiver.share / all;
        shares.push((upto, nth as u16));
    }
    if let Some(last) = shares.last_mut() {
        last.0 = 1.0;
    }
    shares
}

fn sites(scenario: &Scenario, policy: &Policy) -> Result<Vec<Site>, String> {
    let site = |receiver: &super::scenario::Receiver| {
        let hosts: Vec<Domain> = receiver.mx.iter().filter_map(|host| Domain::parse(host).ok()).collect();
        let domain = hosts.first().cloned().ok_or_else(|| format!("receiver `{}`: mx", receiver.name))?;
        let name = policy.site_of(Hosts::Mx(&hosts), &domain);
        let limits = policy.limits(&Place { site: &name, hosts: &hosts, domain: &domain });
        Ok(Site {
            name,
            domain,
            limits,
            book: Book::default(),
            standing: Standing::default(),
            lines: HashMap::new(),
            slowed: 0,
        })
    };
    scenario.receiver.iter().map(site).collect()
}
