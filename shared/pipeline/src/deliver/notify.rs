//! Tells a message's envelope sender that it could not be delivered (RFC 3464), where his domain's identity asks for it. A
//! notice is a message like any other, from the null path, under an id derived from what it tells: told twice it is one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use posthaste_feedback::DeliveryAction;
use posthaste_feedback::notice::{Notice, Undelivered};
use posthaste_mail::{Address, Domain, Enhanced, JobId, Lane, MessageId, ReversePath, Timestamp};

use crate::ambient::Ambient;
use crate::row::{
    Content, End, Facts, Guarantee, HeaderCharset, Outcome, Promise, Recipient, Row, Told as Notices,
};
use crate::spool;
use crate::stores::{Acceptance, StoreError, Stores};

/// How long a notice is tried: who does not take it within that is not told.
const LIFETIME: Duration = Duration::from_secs(2 * 86_400);
/// Where a reply says no code of its own: delivery time expired (RFC 3463 3.5), or not delivered for another reason.
const EXPIRED: Enhanced = Enhanced { class: 5, subject: 4, detail: 7 };
const UNDELIVERED: Enhanced = Enhanced { class: 5, subject: 0, detail: 0 };

/// Sends a notice of what a job, or a report, under this name has ended without delivery.
pub(crate) async fn notify(
    ambient: &Ambient,
    stores: &Stores,
    row: &Row,
    name: &JobId,
) -> Result<(), StoreError> {
    let ReversePath::Address(to) = &row.facts.reverse_path else { return Ok(()) };
    if row.facts.notices != Notices::Wanted {
        return Ok(());
    }
    let failed: Vec<&Recipient> = row.recipients.iter().filter(|one| has_failed(one, name)).collect();
    if failed.is_empty() {
        return Ok(());
    }
    // Its header goes along as long as its octets are there.
    let message = stores.spool.open(&row.facts.spool).await?.unwrap_or_default();
    let now = ambient.now();
    let policy = ambient.policy.get();
    let hostname = policy.hostname(&policy.default_egress().name).to_string();
    let Ok(host) = Domain::parse(&hostname) else { return Ok(()) };
    let id = notice_id(row, name);
    let told: Vec<Undelivered<'_>> = failed.iter().map(|one| undelivered(one)).collect();
    let notice = Notice {
        sender: &row.facts.reverse_path,
        host: &host,
        id: id.as_str(),
        at: now,
        arrived: row.facts.accepted_at,
        message: &message,
        recipients: &told,
    };
    let Some(octets) = notice.write() else { return Ok(()) };
    let acceptance = acceptance(row, id, ambient.job_id(), (to, &host), Bytes::from(octets), now);
    stores.intake.accept(vec![acceptance]).await.map(|_| ())
}

fn notice_id(row: &Row, name: &JobId) -> MessageId {
    let part = row.key.part.to_be_bytes();
    MessageId::derived(&[b"notice", row.key.message.as_str().as_bytes(), &part, name.as_str().as_bytes()])
}

fn has_failed(recipient: &Recipient, name: &JobId) -> bool {
    matches!(&recipient.outcome, Outcome::Final { end: End::Bounced | End::Expired, by: Some(by), .. } if by == name)
}

fn undelivered(recipient: &Recipient) -> Undelivered<'_> {
    let last = recipient.attempts.last();
    let has_expired = matches!(recipient.outcome, Outcome::Final { end: End::Expired, .. });
    Undelivered {
        address: &recipient.address,
        action: DeliveryAction::Failed,
        status: if has_expired { EXPIRED } else { UNDELIVERED },
        remote: last.and_then(|attempt| attempt.host.as_deref()),
        reply: last.and_then(|attempt| attempt.reply.as_ref()),
        why: last.and_then(|attempt| attempt.detail.as_deref()),
        last_attempt: last.map(|attempt| attempt.at),
    }
}

fn acceptance(
    about: &Row,
    id: MessageId,
    job: JobId,
    (to, host): (&Address, &Domain),
    message: Bytes,
    now: Timestamp,
) -> Acceptance {
    let ascii = message.is_ascii();
    let facts = Facts {
        // The same notice has the same: it is made again only where its answer was lost.
        request_hash: "notice".to_owned(),
        spool: spool::name(&about.tenant, &id, "notice"),
        size: message.len() as u64,
        from: format!("Mail Delivery System <mailer-daemon@{host}>"),
        subject: "Undelivered Mail Returned to Sender".to_owned(),
        reverse_path: ReversePath::Null,
        lane: Lane::Transactional,
        tags: BTreeMap::from([("notice".to_owned(), about.key.message.to_string())]),
        accepted_at: now,
        send_at: None,
        lifetime_ms: u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX),
        guarantee: Guarantee::AtLeastOnce,
        tls: None,
        content: if ascii { Content::SevenBit } else { Content::EightBit },
        header: HeaderCharset::Ascii,
        realm: about.facts.realm,
        sender: Some(host.clone()),
        bounces: None,
        notices: Notices::Unwanted,
    };
    let row = Row::accepted(id, about.tenant.clone(), facts, std::slice::from_ref(to));
    let job = (row.promise == Promise::Job).then(|| row.job(job));
    Acceptance { row, message, job }
}
