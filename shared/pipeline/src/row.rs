//! A row of the ledger: one part of a submission, with all that is known of its delivery. Plain data; what may
//! happen to it is in [`crate::machine`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use posthaste_mail::{
    Address, Domain, JobId, Lane, MessageId, PartKey, Reply, ReversePath, Stage, Tenant, Timestamp,
};
use posthaste_policy::{TlsMode, Verdict};
use serde::{Deserialize, Serialize};

/// Attempts kept of one recipient; between the first and the latest ones the oldest go.
pub const ATTEMPTS_KEPT: usize = 40;
/// Recipients of one part: as many as one transaction carries (RFC 5321 4.5.3.1.8).
pub const PART_RECIPIENTS_MAX: usize = 100;

/// What was submitted; never changes after acceptance. Shared by all parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Hash of the request as it came, before anything was added to it.
    pub request_hash: String,
    /// Name of the immutable spool object with the message.
    pub spool: String,
    /// Octets of the message as it will be sent.
    pub size: u64,
    /// The header's From, as shown.
    pub from: String,
    /// The header's Subject, decoded, as shown.
    pub subject: String,
    /// Where notices go and, without a return path domain, MAIL FROM.
    pub reverse_path: ReversePath,
    /// Which line it stands in.
    pub lane: Lane,
    /// The caller's labels.
    pub tags: BTreeMap<String, String>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Not before this.
    pub send_at: Option<Timestamp>,
    /// How long it may live, counted from `send_at` or acceptance, in milliseconds.
    pub lifetime_ms: u64,
    /// What to do when nobody can know whether it arrived.
    pub guarantee: Guarantee,
    /// The TLS the submission asks for, if it asks for more than the policy.
    pub tls: Option<TlsMode>,
    /// Whether its body has octets above 127 (RFC 6152).
    pub content: Content,
    /// Whether its header has UTF-8 (RFC 6532), so that only SMTPUTF8 hosts may have it.
    pub header: HeaderCharset,
    /// Where it goes: to the world, or to the sandbox receiver.
    pub realm: Realm,
    /// The domain of the header's From; none only in rows written before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Domain>,
    /// The sender domain's own domain of MAIL FROM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounces: Option<Domain>,
    /// Whether the envelope's sender is told of what is not delivered.
    #[serde(default, skip_serializing_if = "Told::is_unwanted")]
    pub notices: Told,
}

/// Whether somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// Nobody is.
    #[default]
    Unwanted,
    /// The envelope's sender is.
    Wanted,
}

impl Told {
    fn is_unwanted(&self) -> bool {
        *self == Self::Unwanted
    }
}

/// The octets of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// 7-bit.
    SevenBit,
    /// Needs 8BITMIME.
    EightBit,
}

/// The octets of a message's header section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderCharset {
    /// ASCII.
    Ascii,
    /// UTF-8: needs SMTPUTF8.
    Utf8,
}

/// The two worlds a message can be for. They share no suppression and no site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Realm {
    /// Real receivers.
    World,
    /// The sandbox receiver.
    Sandbox,
}

/// What happens when the final reply is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Send the same bytes again: it arrives, perhaps twice.
    #[default]
    AtLeastOnce,
    /// Leave it: it arrives once, or nobody knows.
    AtMostOnce,
}

/// Names a row in any store: every store keeps a tenant's rows under that tenant's name, so that no mistake elsewhere
/// can read another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowKey {
    /// Whose it is.
    pub tenant: Tenant,
    /// Message and part.
    pub part: PartKey,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Accepted; nothing was tried.
    Queued,
    /// Between attempts.
    Waiting,
    /// A job has it.
    Sending,
    /// A head whose parts have rows of their own.
    Split,
    /// Every recipient has its final outcome.
    Done,
}

impl State {
    /// Queued or waiting: a job may claim it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Waiting)
    }
}

/// One part: one recipient domain, at most 100 recipients; or the head of a submission to several domains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Message and part.
    pub key: PartKey,
    /// Whose it is.
    pub tenant: Tenant,
    /// +1 with every write: the condition of every write.
    pub version: u64,
    /// What was submitted.
    pub facts: Arc<Facts>,
    /// The recipients' domain; none for a head.
    pub domain: Option<Domain>,
    /// What a head splits into, in order: part 1 is the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartPlan>,
    /// Where it stands.
    pub state: State,
    /// +1 with each successor job: jobs with a lower one are stale.
    pub seq: u32,
    /// +1 with each claim: tells the holder of a lapsed lease that it is one.
    pub claim: u32,
    /// The job that holds it while sending, or that split it.
    pub by: Option<JobId>,
    /// Until when the holder has it; the epoch when nobody has.
    pub lease: Timestamp,
    /// When it is to be tried next.
    pub due: Timestamp,
    /// Whether a job is out for it or the row alone waits.
    pub promise: Promise,
    /// When the clock has to look after it. Every row that is not final has one, and one that is, while something
    /// of it may be untold.
    pub wake: Option<Timestamp>,
    /// When it gives up.
    pub expires: Timestamp,
    /// Leases that lapsed since the last settlement; kept by a row that was put aside for it.
    pub crashes: u8,
    /// The hold it waits under.
    pub hold: Option<String>,
    /// Whether its end was asked for while it was being sent.
    pub cancel: Cancel,
    /// Whether the final dot may be on its way; written for `at-most-once` only.
    pub dot: Dot,
    /// The place it has in a line; a row that is parked keeps it for its next job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// The site of the latest attempt, as the queue view names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The jobs that settled something here, oldest first, with the seq each left behind.
    #[serde(default)]
    pub settlements: Vec<Settled>,
    /// Each recipient with its outcome.
    pub recipients: Vec<Recipient>,
}

/// Whether a job is out for an open row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promise {
    /// A job is in the queue.
    Job,
    /// The row alone: the clock sends the job when its time nears.
    Parked,
}

/// Whether the end of a row was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cancel {
    /// No.
    No,
    /// Yes: what is not delivered by the job that has it is cancelled.
    Asked,
}

/// Whether a transaction came near its final dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dot {
    /// It did not, or nobody asked.
    Before,
    /// It may have.
    Near,
}

/// One job's settlement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The job.
    pub job: JobId,
    /// The claim it settled; 0: no dialogue was held. Two claims of one job's copies are two settlements.
    #[serde(default)]
    pub claim: u32,
    /// The row's seq after it; 0: it came late and nothing of the row's future is its own.
    pub seq: u32,
    /// When.
    pub at: Timestamp,
    /// The job that sees to what follows: the one that settled, or one that took it over. None: nobody does yet,
    /// since a caller settled it, or a job that had been acknowledged by then.
    #[serde(default)]
    pub teller: Option<JobId>,
}

/// Settlements remembered: a job that comes back later than this many is dropped as stale.
pub const SETTLEMENTS_KEPT: usize = 16;

/// One part of a head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartPlan {
    /// Its domain.
    pub domain: Domain,
    /// Its recipients.
    pub recipients: Vec<Address>,
}

/// One recipient of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipient {
    /// The mailbox.
    pub address: Address,
    /// How it stands.
    pub outcome: Outcome,
    /// Not before this, if it is open: a greylisted recipient does not come along when another is due.
    pub due: Timestamp,
    /// Tries that counted: what the retry schedule goes by.
    #[serde(default)]
    pub tries: u32,
    /// Throttles in a row: what their own schedule goes by.
    #[serde(default)]
    pub throttles: u32,
    /// Connections in a row that were used up before its transaction finished.
    #[serde(default)]
    pub reconnects: u32,
    /// What was tried, oldest first.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// How a recipient stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum Outcome {
    /// Not final yet.
    Open,
    /// Final, by which job and when.
    Final {
        /// Which end.
        end: End,
        /// The job that settled it; none when a caller did.
        by: Option<JobId>,
        /// When.
        at: Timestamp,
        /// Deliveries beyond the first, by jobs that had lost their lease.
        #[serde(default)]
        copies: u8,
    },
}

/// The ends a recipient can come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The receiver took it.
    Delivered,
    /// It was refused for good.
    Bounced,
    /// Its time ran out.
    Expired,
    /// The recipient is on the suppression list.
    Suppressed,
    /// A caller ended it.
    Cancelled,
    /// The final reply was lost and the guarantee is at most once.
    Ambiguous,
}

/// One try for one recipient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 and up.
    pub n: u32,
    /// The job that made it.
    pub job: JobId,
    /// When its outcome was known.
    pub at: Timestamp,
    /// How far it came.
    pub stage: Stage,
    /// The host that answered, or that could not be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The TLS of the connection, as shown: `TLSv1.3 verified`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// What the peer answered, or the code we give to what needed no peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// What happened where no reply tells it: `connection refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What we made of it.
    pub verdict: Verdict,
}

impl Row {
    /// Under which name stores keep it.
    pub fn row_key(&self) -> RowKey {
        RowKey { tenant: self.tenant.clone(), part: self.key.clone() }
    }

    /// Recipients that have no final outcome yet.
    pub fn open_recipients(&self) -> impl Iterator<Item = (usize, &Recipient)> {
        self.recipients.iter().enumerate().filter(|(_, r)| r.outcome == Outcome::Open)
    }

    /// The message this is a part of.
    pub fn message(&self) -> &MessageId {
        &self.key.message
    }

    /// Whether a job settled something here, or sees to what follows a settlement, as far as is remembered.
    pub fn is_told_by(&self, job: &JobId) -> bool {
        self.settlements.iter().any(|settled| settled.job == *job || settled.teller.as_ref() == Some(job))
    }

    /// Whether there is a settlement that nobody sees to.
    pub fn is_untold(&self) -> bool {
        self.settlements.iter().any(|settled| settled.teller.is_none())
    }
}

impl Recipient {
    /// A recipient nothing was tried for.
    pub fn new(address: Address, due: Timestamp) -> Self {
        Self {
            address,
            outcome: Outcome::Open,
            due,
            tries: 0,
            throttles: 0,
            reconnects: 0,
            attempts: Vec::new(),
        }
    }

    /// How often a receiver was asked for it, and answered or not; attempts that came less far do not count.
    pub fn asked_for(&self) -> u32 {
        let all = self.attempts.last().map_or(0, |attempt| attempt.n);
        let short = self.attempts.iter().filter(|attempt| attempt.stage < Stage::Rcpt).count();
        all.saturating_sub(u32::try_from(short).unwrap_or(u32::MAX))
    }

    /// Adds an attempt, letting go of old ones past the limit: the first stays, as where it all began.
    pub fn record(&mut self, attempt: Attempt) {
        if self.attempts.len() >= ATTEMPTS_KEPT {
            self.attempts.remove(1);
        }
        self.attempts.push(attempt);
    }
}

/// A piece of work in a queue: try this part. Small; everything else is in the row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Fresh for each successor; a copy keeps it.
    pub id: JobId,
    /// The row.
    pub key: PartKey,
    /// The row's seq when it was made.
    pub seq: u32,
    /// Whose it is: queues are fair by tenant.
    pub tenant: Tenant,
    /// Which queue.
    pub lane: Lane,
    /// The recipients' domain, so that its site is known before the row is read; none for a head.
    pub domain: Option<Domain>,
    /// Which world.
    pub realm: Realm,
    /// The TLS the submission asks for: it must not share a connection with less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsMode>,
    /// Not before this.
    pub due: Timestamp,
    /// When the row gives up: no wait goes past it.
    pub expires: Timestamp,
    /// Recipients, for pacing.
    pub recipients: u16,
    /// The sending domain, where the receiver or a rule treats one apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Domain>,
    /// Its place in a line, once it was told to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// Whether it waits with the mail of slow sites.
    #[serde(default, skip_serializing_if = "Track::is_own")]
    pub track: Track,
}

/// A place in a line; kept by copies of a job, and by a row that is parked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The site it was taken at: at another one it is worth nothing.
    pub site: String,
    /// The first of its places.
    pub place: u64,
}

/// By which queue a job comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Track {
    /// Its lane's own.
    #[default]
    Own,
    /// That of sites known to be slow: there it holds up nobody else's.
    Slow,
}

impl Track {
    fn is_own(&self) -> bool {
        *self == Self::Own
    }
}

/// The queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// Of the transactional lane.
    Transactional,
    /// Of the bulk lane.
    Bulk,
    /// Of sites known to be slow, whatever the lane.
    Slow,
}

impl Queue {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Transactional, Self::Bulk, Self::Slow];

    /// The name in settings and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Bulk => "bulk",
            Self::Slow => "slow",
        }
    }
}

impl From<Lane> for Queue {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Transactional => Self::Transactional,
            Lane::Bulk => Self::Bulk,
        }
    }
}

impl Job {
    /// By which queue it comes.
    pub fn queue(&self) -> Queue {
        match self.track {
            Track::Own => self.lane.into(),
            Track::Slow => Queue::Slow,
        }
    }

    /// Under which name stores keep its row.
    pub fn row_key(&self) -> RowKey {
        RowKey { tenant: self.tenant.clone(), part: self.key.clone() }
    }
}
