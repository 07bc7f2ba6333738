//! Takes submissions in: parse, refuse or accept. What is accepted is durable when [`accept`] returns.
//!
//! Reading, checking and building are pure ([`ready`]); only [`accept`] touches the store, once for a whole request.
//! No HTTP here: whoever has a request hands in its octets and what tells it from others.

mod accepted;
mod authorise;
mod letter;
mod lists;
mod mime;
mod offer;
mod quota;
mod raw;
mod refusal;
mod request;
mod upload;
mod wishes;

use std::collections::HashSet;

use bytes::Bytes;
use posthaste_mail::message::{self, HeaderOctets, Octets, Stamp};
use posthaste_mail::{Address, JobId, MessageId, ReversePath, Tenant, Timestamp};
use posthaste_policy::Policy;
use sha2::{Digest, Sha256};

use crate::ambient::Ambient;
use crate::meter::Happened;
use crate::row::{Content, Facts, HeaderCharset, Promise, Realm, Row, Told};
use crate::spool;
use crate::stores::{Acceptance, Stores};
use crate::unsubscribe;

pub use accepted::{AcceptedMessage, Warning};
pub use raw::RawRequest;
pub use refusal::{FieldError, Findings, Refusal};
pub use request::{
    AttachmentRequest, BATCH_MAX, BatchRequest, HeaderPairs, MailRequest, OneOrMany, read_json,
};
pub use upload::UploadRequest;

use letter::Letter;
use wishes::{Wishes, Written};

/// Octets of an idempotency key.
pub const KEY_OCTETS_MAX: usize = 255;
/// Octets of a request beyond which it is built off the reactor: about a millisecond of work.
const HEAVY_OCTETS: usize = 256 * 1024;

/// A hash of a request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHash(String);

impl RequestHash {
    /// Of everything that makes a request what it is: its form, its query, its body.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize()[..16].iter().map(|octet| format!("{octet:02x}")).collect())
    }

    /// 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What makes a submission the same as an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The caller's key, or one derived from the source of an event.
    pub key: String,
    /// Its place in a batch; 0 where there is none.
    pub index: u32,
}

impl Key {
    /// The id that every submission under this key has.
    pub fn message_id(&self, tenant: &Tenant) -> MessageId {
        let index = self.index.to_be_bytes();
        MessageId::derived(&[b"submission", tenant.as_str().as_bytes(), self.key.as_bytes(), &index])
    }
}

/// One thing to accept.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Under which key; none: it is like no other.
    pub key: Option<Key>,
    /// The request it came in.
    pub hash: RequestHash,
    /// The mail itself.
    pub mail: Mail,
}

/// The forms of mail that are taken.
#[derive(Debug, Clone)]
pub enum Mail {
    /// To be built.
    Letter(Box<MailRequest>),
    /// Built already.
    Raw(Box<RawRequest>, Bytes),
}

impl Mail {
    fn offers_unsubscribe(&self) -> bool {
        matches!(self, Self::Letter(letter) if letter.unsubscribe == Some(true))
    }

    /// Roughly how much work it is.
    fn octets(&self) -> usize {
        match self {
            Self::Raw(_, message) => message.len(),
            Self::Letter(letter) => {
                let files = letter.attachments.iter().flatten().filter_map(|file| file.content.as_ref());
                let texts = [&letter.text, &letter.html].into_iter().flatten();
                files.chain(texts).map(String::len).sum()
            }
        }
    }
}

/// Accepts the submissions of one request; one answer each, in order. What is accepted is durable.
pub async fn accept(
    ambient: &Ambient,
    stores: &Stores,
    tenant: &Tenant,
    submissions: Vec<Submission>,
) -> Vec<Result<AcceptedMessage, Refusal>> {
    let policy = ambient.policy.get();
    let (now, in_force) = (ambient.now(), policy.clone());
    let heavy = submissions.iter().map(|submission| submission.mail.octets()).sum::<usize>() > HEAVY_OCTETS;
    let given: Vec<(MessageId, JobId, Submission)> = submissions
        .into_iter()
        .map(|submission| {
            let id = match &submission.key {
                Some(key) => key.message_id(tenant),
                None => ambient.message_id(),
            };
            (id, ambient.job_id(), submission)
        })
        .collect();
    let count = given.len();
    let owner = tenant.clone();
    let links = match given.iter().any(|(_, _, one)| one.mail.offers_unsubscribe()) {
        false => None,
        true => match unsubscribe::key(ambient, stores).await {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::error!(%error, "submissions were not accepted: the key of their links cannot be read");
                ambient.note(Happened::StoreFailed);
                return vec![Err(Refusal::Unavailable); count];
            }
        },
    };
    let build = move || -> Vec<Result<Acceptance, Refusal>> {
        let ready =
            |(id, job, one)| ready(&in_force, now, &owner, Named { id, job, links: links.as_ref() }, one);
        given.into_iter().map(ready).collect()
    };
    let built = if heavy { tokio::task::spawn_blocking(build).await.ok() } else { Some(build()) };
    let Some(built) = built else {
        return vec![Err(Refusal::Unavailable); count];
    };
    let built = authorise::all(ambient, stores, tenant, built).await;
    let weighed = built.into_iter().map(|one| lists::weighed(&policy, one));
    let (built, warnings): (Vec<_>, Vec<_>) = weighed.unzip();
    let limits = policy.quota.of(tenant);
    if let Err(refusal) = quota::take(&*stores.quotas, &limits, tenant, now, &built).await {
        match refusal {
            Refusal::Unavailable => ambient.note(Happened::StoreFailed),
            _ => built.iter().for_each(|_| ambient.note(Happened::Refused)),
        }
        return built.into_iter().map(|one| one.and(Err(refusal.clone()))).collect();
    }
    accepted::store(&*ambient.meter, &*stores.intake, built, warnings).await
}

/// What a submission is given before it is read.
pub struct Named<'a> {
    /// Its id.
    pub id: MessageId,
    /// The id of its job.
    pub job: JobId,
    /// The key that links in it are sealed with; not needed where it asks for none.
    pub links: Option<&'a [u8; 32]>,
}

/// Makes one submission ready to be stored, or says why it is refused.
pub fn ready(
    policy: &Policy,
    now: Timestamp,
    tenant: &Tenant,
    named: Named<'_>,
    submission: Submission,
) -> Result<Acceptance, Refusal> {
    let Named { id, job, links } = named;
    let read = read(submission.mail, now)?;
    let realm = realm(policy, read.realm)?;
    let recipients = distinct(read.recipients, policy.size.recipients, read.recipients_field)?;
    let (octets, said) = match read.form {
        Form::Letter(mut letter) => {
            if read.offers_unsubscribe {
                let link = offer::link(tenant, &id, realm, read.wishes.lane, &recipients)?;
                letter.headers.extend(offer::fields(policy, &letter.headers, &link, links)?);
            }
            let said = (letter.from.clone(), letter.subject.clone().unwrap_or_default());
            (Bytes::from(mime::write(*letter, submission.hash.as_str())?), Some(said))
        }
        Form::Raw(octets) => (octets, None),
    };
    let hostname = policy.hostname(&policy.default_egress().name);
    let sender = read.wishes.return_path.as_ref().and_then(ReversePath::address);
    let stamp = Stamp { hostname: &hostname, id: &id, at: now, sender };
    let mut prepared = message::prepare(&octets, &stamp).map_err(|error| FieldError::new("", error))?;
    drop(octets);
    if let Some((from, subject)) = said {
        prepared.from =
            from.name.map_or_else(|| from.address.to_string(), |name| format!("{name} <{}>", from.address));
        (prepared.from_address, prepared.subject) = (from.address, subject);
    }
    let size = prepared.bytes.len() as u64;
    if size > policy.size.message_bytes {
        return Err(Refusal::TooLarge { octets: size, limit: policy.size.message_bytes });
    }
    let message = prepared.bytes.clone();
    let lifetime = read.wishes.expires_in.unwrap_or(policy.retry(read.wishes.lane).expire_after);
    let from_domain = prepared.from_address.domain().clone();
    let facts = Facts {
        spool: spool::name(tenant, &id, submission.hash.as_str()),
        request_hash: submission.hash.0,
        size,
        reverse_path: read.wishes.return_path.unwrap_or(ReversePath::Address(prepared.from_address)),
        from: prepared.from,
        subject: prepared.subject,
        lane: read.wishes.lane,
        tags: read.wishes.tags,
        accepted_at: now,
        send_at: read.wishes.send_at,
        lifetime_ms: u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX),
        guarantee: read.wishes.guarantee,
        tls: read.wishes.tls,
        content: match prepared.content {
            Octets::SevenBit => Content::SevenBit,
            Octets::EightBit => Content::EightBit,
        },
        header: match prepared.header {
            HeaderOctets::Ascii => HeaderCharset::Ascii,
            HeaderOctets::Utf8 => HeaderCharset::Utf8,
        },
        realm,
        sender: Some(from_domain),
        bounces: None,
        notices: Told::Unwanted,
    };
    let row = Row::accepted(id, tenant.clone(), facts, &recipients);
    let job = (row.promise == Promise::Job).then(|| row.job(job));
    Ok(Acceptance { row, message, job })
}

/// A submission, read whatever its form.
struct Read {
    form: Form,
    recipients: Vec<Address>,
    recipients_field: &'static str,
    wishes: Wishes,
    realm: Realm,
    offers_unsubscribe: bool,
}

enum Form {
    Letter(Box<Letter>),
    Raw(Bytes),
}

fn read(mail: Mail, now: Timestamp) -> Result<Read, Refusal> {
    let mut findings = Findings::default();
    match mail {
        Mail::Letter(request) => {
            let wishes = wishes::read(&Written::of(&request), now, &mut findings);
            let realm = asked_realm(request.sandbox);
            let offers_unsubscribe = request.unsubscribe == Some(true);
            let letter = letter::read(*request, &mut findings);
            findings.verdict()?;
            let (letter, recipients) =
                letter.ok_or_else(|| FieldError::new("", "the submission cannot be read"))?;
            Ok(Read {
                form: Form::Letter(Box::new(letter)),
                recipients,
                recipients_field: "to",
                wishes,
                realm,
                offers_unsubscribe,
            })
        }
        Mail::Raw(request, octets) => {
            let envelope = raw::read(&request, now, &mut findings);
            findings.verdict()?;
            let realm = asked_realm(envelope.sandbox);
            let (recipients, wishes) = (envelope.recipients, envelope.wishes);
            Ok(Read {
                form: Form::Raw(octets),
                recipients,
                recipients_field: "rcpt_to",
                wishes,
                realm,
                offers_unsubscribe: false,
            })
        }
    }
}

fn asked_realm(sandbox: Option<bool>) -> Realm {
    if sandbox == Some(true) { Realm::Sandbox } else { Realm::World }
}

/// Where it goes: the world is only open to a host that has a name to say there.
fn realm(policy: &Policy, asked: Realm) -> Result<Realm, Refusal> {
    if policy.sandbox.all || asked == Realm::Sandbox {
        return Ok(Realm::Sandbox);
    }
    if policy.sandbox_only() {
        let detail = "the policy names no `mta.hostname`, so only the sandbox is served: set it, or send with `sandbox` true";
        return Err(FieldError::new("sandbox", detail).into());
    }
    Ok(Realm::World)
}

/// Each recipient once, in the order of first mention.
fn distinct(listed: Vec<Address>, limit: u32, field: &'static str) -> Result<Vec<Address>, Refusal> {
    if listed.is_empty() {
        return Err(FieldError::new(field, "missing: a message has at least one recipient").into());
    }
    let mut seen = HashSet::with_capacity(listed.len());
    let recipients: Vec<Address> =
        listed.into_iter().filter(|address| seen.insert(address.clone())).collect();
    if recipients.len() > limit as usize {
        let detail = format!("{} recipients, at most {limit} are taken", recipients.len());
        return Err(FieldError::new(field, detail).into());
    }
    Ok(recipients)
}

#[cfg(test)]
mod tests;
