//! What comes back about mail that was sent: bounces after acceptance, complaints, and what receivers report over a
//! period, which is only counted (`periodic`). A report acts only where a token of ours shows which delivery it is about
//! ([`return_path`]); its words alone are anybody's. What does not act is kept with the reason, so that somebody can look
//! at it.

mod periodic;

use std::time::Duration;

use async_trait::async_trait;
use posthaste_feedback::{Complaint, DeliveryAction, Dsn, Failure, Report};
use posthaste_mail::{Address, Domain, MessageId, Reply, ReversePath, Stage, Tenant, Timestamp};
use posthaste_policy::retry::Position;
use posthaste_policy::verdict::Class;
use posthaste_policy::{Action, RuleName, Verdict};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ambient::Ambient;
use crate::deliver::history::weigh;
use crate::deliver::notify::notify;
use crate::deliver::return_path::{self, Found};
use crate::effect::{Effect, EventKind, Evidence, Reason, Suppression};
use crate::machine::{Certainty, Told, bounced_late, by_recipient, follow, report_name, told_of};
use crate::meter::{Happened, Tale};
use crate::row::{Recipient, Row};
use crate::stores::{Applied, StoreError, Stores};

/// Octets of a report that is taken: what a bounce of the largest message we send may return, with room.
pub const REPORT_OCTETS_MAX: usize = 40_000_000;
/// How long a report that did not act is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Octets of what is kept of one: many recipients with long words are cut to none.
const KEPT_OCTETS_MAX: usize = 64 * 1024;
/// Tries to write a row that others write too.
const CONTENTION_MAX: usize = 10;
/// Kinds of complaints that say that the recipient does not want it (RFC 5965 7.3, and what is in use beside it).
const UNWANTED: [&str; 5] = ["abuse", "fraud", "opt-out", "opt-out-list", "miscategorized"];

/// A message that came in, with its envelope as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Arrived<'a> {
    /// Its MAIL FROM.
    pub mail_from: Option<ReversePath>,
    /// To whom it came.
    pub rcpt_to: Vec<Address>,
    /// The token of the delivery it is about, where whoever hands it in knows that by itself: the sandbox does.
    pub token: Option<String>,
    /// The tenant who hands it in; none: whoever runs this. A tenant reports on no other's domains.
    pub by: Option<Tenant>,
    /// The message.
    pub raw: &'a [u8],
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Taken {
    /// Deliveries have bounced late.
    Bounced {
        /// The message they were of.
        message_id: MessageId,
        /// The recipients.
        recipients: Vec<Address>,
    },
    /// Recipients have complained: their lane is closed to them.
    Complained {
        /// The message they complained of.
        message_id: MessageId,
        /// The recipients.
        recipients: Vec<Address>,
    },
    /// A receiver has reported over a period on a sender domain: it is counted.
    Reported {
        /// The sender domain.
        domain: Domain,
        /// The report's id among those of the domain.
        id: String,
    },
    /// It is kept and changes nothing.
    Kept {
        /// Under this id.
        id: String,
        /// Because of this.
        why: String,
    },
}

/// A report that changed nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptReport {
    /// `rep_` and a hash of its octets: the same one twice is one.
    pub id: String,
    /// When it came.
    pub at: Timestamp,
    /// Its MAIL FROM.
    pub mail_from: Option<String>,
    /// To whom it came.
    pub rcpt_to: Vec<String>,
    /// Why it changed nothing.
    pub why: String,
    /// What it says, as `posthaste parse-report` shows it.
    pub report: serde_json::Value,
}

/// Reports that changed nothing, for somebody to look at.
#[async_trait]
pub trait Reports: Send + Sync {
    /// Keeps one for [`KEPT_FOR`]; the same again is one.
    async fn keep(&self, report: &KeptReport) -> Result<(), StoreError>;
    /// A page, newest first, after an id.
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<KeptReport>, StoreError>;
}

/// Takes a report in; does what it asks for if it may. The same again does the same again.
pub async fn take_in(ambient: &Ambient, stores: &Stores, arrived: &Arrived<'_>) -> Result<Taken, StoreError> {
    let report = posthaste_feedback::read(arrived.raw);
    match do_it(ambient, stores, arrived, &report).await? {
        Ok(taken) => Ok(taken),
        Err(why) => keep(ambient, stores, arrived, &report, why).await,
    }
}

/// The same, but that a report that changes nothing is not kept: whoever hands it in may do so again.
pub async fn act(
    ambient: &Ambient,
    stores: &Stores,
    arrived: &Arrived<'_>,
) -> Result<Option<Taken>, StoreError> {
    let report = posthaste_feedback::read(arrived.raw);
    Ok(do_it(ambient, stores, arrived, &report).await?.ok())
}

/// What a report does; or why it does nothing.
async fn do_it(
    ambient: &Ambient,
    stores: &Stores,
    arrived: &Arrived<'_>,
    report: &Report,
) -> Result<Result<Taken, String>, StoreError> {
    Ok(match report {
        Report::Dsn(dsn) => bounce(ambient, stores, arrived, dsn).await?,
        Report::Complaint(complaint) => complain(ambient, stores, arrived, complaint).await?,
        Report::Dmarc(_) | Report::TlsRpt(_) => periodic::count(ambient, stores, arrived).await?,
        Report::AutoReply => Err("an automatic answer".to_owned()),
        Report::Other => Err("no report".to_owned()),
    })
}

async fn keep(
    ambient: &Ambient,
    stores: &Stores,
    arrived: &Arrived<'_>,
    report: &Report,
    why: String,
) -> Result<Taken, StoreError> {
    let digest = Sha256::digest(arrived.raw);
    let id: String = digest[..16].iter().map(|octet| format!("{octet:02x}")).collect();
    let shown = serde_json::to_value(report).unwrap_or_default();
    let fits = serde_json::to_vec(&shown).is_ok_and(|octets| octets.len() <= KEPT_OCTETS_MAX);
    let kind = shown.get("kind").cloned().unwrap_or_default();
    let kept = KeptReport {
        id: format!("rep_{id}"),
        at: ambient.now(),
        mail_from: arrived.mail_from.as_ref().map(ToString::to_string),
        rcpt_to: arrived.rcpt_to.iter().take(100).map(ToString::to_string).collect(),
        why,
        report: if fits { shown } else { serde_json::json!({ "kind": kind, "cut": true }) },
    };
    tracing::info!(report = kept.id, why = kept.why, "a report changed nothing and is kept");
    stores.reports.keep(&kept).await?;
    Ok(Taken::Kept { id: kept.id, why: kept.why })
}

/// The rows of the message that a report is about, and the row that its token names; or why there are none.
struct About {
    rows: Vec<Row>,
    row: Row,
    alone: bool,
}

async fn about(
    ambient: &Ambient,
    stores: &Stores,
    arrived: &Arrived<'_>,
    also: Option<&str>,
) -> Result<Result<About, String>, StoreError> {
    let keys = [return_path::key(ambient, stores).await?];
    let Some(found) = token_of(arrived, also, &keys) else {
        return Ok(Err("unverified: it came to no return path of ours".to_owned()));
    };
    let Some(tenant) = stores.directory.tenant(&found.tenant).await? else {
        return Ok(Err("unverified: its token names a tenant that is not known".to_owned()));
    };
    let rows = stores.ledger.message(&tenant, &found.key.message).await?;
    let Some(row) = rows.iter().find(|row| row.key == found.key).cloned() else {
        return Ok(Err("the message it is about is past its retention".to_owned()));
    };
    Ok(Ok(About { rows, row, alone: found.alone }))
}

/// The token that a report came with: told by who hands it in, in its envelope, in its own header, or, of a complaint, in
/// what it says of the message's envelope.
fn token_of(arrived: &Arrived<'_>, also: Option<&str>, keys: &[[u8; 32]]) -> Option<Found> {
    if let Some(token) = &arrived.token {
        return return_path::read_token(token, keys);
    }
    let header = posthaste_feedback::addressed_to(arrived.raw);
    let named = header.iter().map(String::as_str).chain(also).filter_map(|text| Address::parse(text).ok());
    arrived.rcpt_to.iter().cloned().chain(named).find_map(|address| return_path::read(&address, keys))
}

fn folded(text: &str) -> Option<String> {
    Address::parse(text).ok().map(|address| address.folded())
}

async fn bounce(
    ambient: &Ambient,
    stores: &Stores,
    arrived: &Arrived<'_>,
    dsn: &Dsn,
) -> Result<Result<Taken, String>, StoreError> {
    let about = match about(ambient, stores, arrived, None).await? {
        Ok(about) => about,
        Err(why) => return Ok(Err(why)),
    };
    if let Some(named) = &dsn.original_message_id
        && own_message_id(stores, &about.row).await?.is_some_and(|own| own != *named)
    {
        return Ok(Err("unverified: it returns another message than its token names".to_owned()));
    }
    let failed: Vec<&Failure> =
        dsn.recipients.iter().filter(|failure| failure.action == DeliveryAction::Failed).collect();
    if failed.is_empty() {
        return Ok(Err("it says that nothing has failed".to_owned()));
    }
    let mut bounced = Vec::new();
    for (at, failure) in concerned(&about, &failed) {
        if settle(ambient, stores, &about.row, at, failure).await? {
            bounced.push(about.row.recipients[at].address.clone());
        }
    }
    if bounced.is_empty() {
        return Ok(Err("it names no recipient of that delivery, or none that was delivered".to_owned()));
    }
    Ok(Ok(Taken::Bounced { message_id: about.row.message().clone(), recipients: bounced }))
}

/// Which recipients of the row a report is about. One alone in its row is meant by its token, whatever address the mail
/// was forwarded to in the end, unless the report names another recipient of the same message; of several, those are
/// meant that the report names.
fn concerned<'a>(about: &About, failed: &[&'a Failure]) -> Vec<(usize, &'a Failure)> {
    let named = |failure: &Failure, recipient: &Recipient| {
        let own = recipient.address.folded();
        [Some(&failure.address), failure.final_address.as_ref()]
            .into_iter()
            .flatten()
            .any(|text| folded(text).as_ref() == Some(&own))
    };
    let recipients = &about.row.recipients;
    let mut found: Vec<(usize, &Failure)> = Vec::new();
    for failure in failed {
        let by_name = recipients.iter().position(|recipient| named(failure, recipient));
        let at = match by_name {
            None if about.alone => {
                let others = about.rows.iter().filter(|row| row.key != about.row.key);
                let is_others = others.flat_map(|row| &row.recipients).any(|other| named(failure, other));
                (!is_others).then_some(0)
            }
            by_name => by_name,
        };
        if let Some(at) = at.filter(|at| found.iter().all(|(known, _)| known != at)) {
            found.push((at, *failure));
        }
    }
    found
}

/// The Message-ID of the message itself, without brackets; none where its octets are gone.
async fn own_message_id(stores: &Stores, row: &Row) -> Result<Option<String>, StoreError> {
    let Some(octets) = stores.spool.open(&row.facts.spool).await? else { return Ok(None) };
    Ok(posthaste_feedback::message_id_of(&octets))
}

/// Writes down that one recipient has bounced; whether it has.
async fn settle(
    ambient: &Ambient,
    stores: &Stores,
    row: &Row,
    at: usize,
    failure: &Failure,
) -> Result<bool, StoreError> {
    let Some(recipient) = row.recipients.get(at) else { return Ok(false) };
    let name = report_name(row, recipient);
    let mut told = [told(at, failure)];
    weigh(ambient, stores, row, &mut told).await;
    let [told] = told;
    for _ in 0..CONTENTION_MAX {
        let now = ambient.now();
        let mut fresh = || ambient.job_id();
        let Some(row) = stores.ledger.read(&[row.row_key()]).await?.pop().flatten() else { return Ok(false) };
        if row.is_told_by(&name) {
            // It came before, and whoever took it in may have died before all that follows was out.
            stores.ledger.perform(follow(&row, &name, now, &mut fresh)).await?;
            notify(ambient, stores, &row, &name).await?;
            return Ok(true);
        }
        let Some(step) = bounced_late(&row, &told, &name, now, &mut fresh) else { return Ok(false) };
        let (written, tale) = (step.row.clone(), Tale::of(&step));
        if stores.ledger.apply(vec![step]).await? == [Applied::Yes] {
            tale.note(&*ambient.meter);
            notify(ambient, stores, &written, &name).await?;
            if let Some(step) = told_of(&written) {
                // Where this is stale somebody has taken it over.
                stores.ledger.apply(vec![step]).await?;
            }
            return Ok(true);
        }
    }
    Err(StoreError::Unavailable("others keep writing the row that a report is about".to_owned()))
}

/// What a report says of a recipient, as if its host had said so itself: that it was given up is sure, for how long that
/// counts is its category's to say.
fn told(recipient: usize, failure: &Failure) -> Told {
    let transient = failure.status.as_deref().is_some_and(|status| status.starts_with('4'));
    let class = if transient { Class::Transient } else { Class::Permanent };
    let verdict = Verdict::by_table(failure.category, class, None, &RuleName::new("reported"));
    let diagnostic = failure.diagnostic.as_deref();
    let quoted = diagnostic.and_then(Reply::parse).filter(|reply| reply.code >= 400);
    let reply = quoted.or_else(|| {
        let code = if transient { 450 } else { 550 };
        let words =
            [failure.status.as_deref(), diagnostic].into_iter().flatten().collect::<Vec<_>>().join(" ");
        Some(Reply::new(code, &[words]))
    });
    Told {
        recipient,
        stage: Stage::Report,
        host: None,
        ip: None,
        tls: None,
        reply,
        detail: Some("reported after it was accepted".to_owned()),
        verdict: Verdict { action: Action::Bounce, ..verdict },
        named_wait: None,
        certainty: Certainty::Known,
        position: Position::Later,
    }
}

async fn complain(
    ambient: &Ambient,
    stores: &Stores,
    arrived: &Arrived<'_>,
    complaint: &Complaint,
) -> Result<Result<Taken, String>, StoreError> {
    if !UNWANTED.contains(&complaint.feedback_type.as_str()) {
        return Ok(Err(format!("a report of type {}", complaint.feedback_type)));
    }
    let about = match about(ambient, stores, arrived, complaint.original_mail_from.as_deref()).await? {
        Ok(about) => about,
        Err(why) => return Ok(Err(why)),
    };
    let named: Vec<String> = complaint.recipients.iter().filter_map(|text| folded(text)).collect();
    let of_row = about.row.recipients.iter();
    let complained: Vec<Address> = of_row
        .filter(|recipient| about.alone || named.contains(&recipient.address.folded()))
        .map(|recipient| recipient.address.clone())
        .collect();
    if complained.is_empty() {
        return Ok(Err("it names no recipient of that delivery".to_owned()));
    }
    let by = complaint.user_agent.as_deref().unwrap_or("a receiver");
    let note = format!("{} reported by {by}", complaint.feedback_type);
    let now = ambient.now();
    let mut effects = Vec::new();
    for address in &complained {
        effects.push(Effect::Suppress(Suppression {
            tenant: about.row.tenant.clone(),
            realm: about.row.facts.realm,
            address: address.clone(),
            lane: Some(about.row.facts.lane),
            reason: Reason::Complaint,
            expires_at: None,
            created_at: now,
            evidence: Evidence {
                message_id: Some(about.row.message().clone()),
                reply: None,
                note: Some(note.clone()),
            },
        }));
        let told = by_recipient(&about.row, address, EventKind::Complained, now);
        if let Effect::Event(event) = &told {
            ambient.note(Happened::Told { event, waited: Duration::ZERO });
        }
        effects.push(told);
    }
    stores.ledger.perform(effects).await?;
    Ok(Ok(Taken::Complained { message_id: about.row.message().clone(), recipients: complained }))
}
