//! What replies say of a receiver, beyond the recipient they answer: told to its standing, and where that changes, to
//! whoever follows events.

use std::time::Duration;

use posthaste_mail::{Domain, EventId, Stage};
use posthaste_policy::standing::{Change, ChangeKind, Signal, SignalOf};
use posthaste_policy::{Action, Verdict};

use super::Inner;
use super::dial::Line;
use super::outcome::Failure;
use super::place::Place;
use super::wired::Wired;
use crate::effect::{About, Effect, Event, EventKind, SiteChange};
use crate::machine::Told;
use crate::meter::Happened;
use crate::pacer::PaceKey;
use crate::row::{Job, Row};
use crate::stores::StoreError;

/// One thing that was heard.
pub(super) struct Heard {
    site: Place,
    verdict: Verdict,
    stage: Stage,
    code: Option<u16>,
    text: String,
    named_wait: Option<Duration>,
    messages: u32,
    accepted: u32,
}

impl Heard {
    /// Nobody was reached, or nobody who took mail.
    pub fn of_failure(failure: &Failure, site: Place) -> Self {
        let text = failure.reply.as_ref().map(ToString::to_string).or_else(|| failure.detail.clone());
        Self {
            site,
            verdict: failure.verdict.clone(),
            stage: failure.stage,
            code: failure.reply.as_ref().map(|reply| reply.code).filter(|_| failure.stage > Stage::Connect),
            text: text.unwrap_or_default(),
            named_wait: failure.named_wait,
            messages: 0,
            accepted: 0,
        }
    }

    /// A recipient was answered, or should have been; none in the sandbox, which has no standing.
    pub fn of_told(told: &Told, line: &Line, accepted: u32) -> Option<Self> {
        line.site.paced.as_ref()?;
        let text = told.reply.as_ref().map(ToString::to_string).or_else(|| told.detail.clone());
        Some(Self {
            site: line.site.clone(),
            verdict: told.verdict.clone(),
            stage: told.stage,
            code: told.reply.as_ref().map(|reply| reply.code).filter(|_| told.detail.is_none()),
            text: text.unwrap_or_default(),
            named_wait: told.named_wait,
            messages: line.messages,
            accepted,
        })
    }

    fn is_delivered(&self) -> bool {
        self.verdict.action == Action::Deliver
    }
}

impl Inner {
    /// Tells the receiver's standing of what was heard for one job. What cannot be told now is not told: the next
    /// reply says it again.
    pub(super) async fn tell(&self, wired: &Wired, job: &Job, heard: Vec<Heard>) {
        let Some(domain) = &job.domain else { return };
        let (delivered, refused): (Vec<Heard>, Vec<Heard>) =
            heard.into_iter().filter(|heard| heard.site.paced.is_some()).partition(Heard::is_delivered);
        for heard in &refused {
            let of = SignalOf::Refused {
                verdict: &heard.verdict,
                stage: heard.stage,
                code: heard.code,
                text: &heard.text,
                named_wait: heard.named_wait,
                messages: heard.messages,
                accepted: heard.accepted,
            };
            self.signal(wired, job, domain, &heard.site, of).await;
        }
        if let Some(first) = delivered.first() {
            let recipients = u32::try_from(delivered.len()).unwrap_or(u32::MAX);
            self.signal(wired, job, domain, &first.site, SignalOf::Delivered { recipients }).await;
        }
    }

    async fn signal(&self, wired: &Wired, job: &Job, domain: &Domain, site: &Place, of: SignalOf<'_>) {
        let Some(paced) = &site.paced else { return };
        let signal = Signal {
            of,
            site: &paced.key.site,
            domain,
            sender: job.sender.as_ref(),
            now: self.ambient.now(),
        };
        let told = async {
            let changes = self.paces.tell(paced, &site.limits(&wired.policy), &wired.policy, &signal).await?;
            if changes.is_empty() { Ok(()) } else { self.announce(job, &paced.key, changes).await }
        };
        if let Err(error) = told.await {
            tracing::warn!(%error, site = paced.key.site.as_str(), "what a receiver said could not be kept");
            self.ambient.note(Happened::StoreFailed);
        }
    }

    /// Tells of changes in the events of the message whose reply caused them.
    pub(super) async fn announce(
        &self,
        job: &Job,
        key: &PaceKey,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        for change in &changes {
            tracing::info!(
                site = key.site.as_str(),
                egress = key.egress.as_str(),
                by = change.by,
                "{}",
                change.what
            );
        }
        let Some(row) = self.stores.ledger.read(&[job.row_key()]).await?.pop().flatten() else {
            return Ok(());
        };
        for _ in changes.iter().filter(|change| change.kind == ChangeKind::Shut) {
            self.ambient.note(Happened::SiteShut);
        }
        let events: Vec<Effect> = changes.iter().filter_map(|change| event(&row, job, key, change)).collect();
        for _ in &events {
            self.ambient.note(Happened::SiteChanged);
        }
        self.stores.ledger.perform(events).await
    }
}

fn event(row: &Row, job: &Job, key: &PaceKey, change: &Change) -> Option<Effect> {
    let kind = match change.kind {
        ChangeKind::Slowed | ChangeKind::Suspended | ChangeKind::Shut => EventKind::SiteSlowed,
        ChangeKind::Recovered => EventKind::SiteRecovered,
        ChangeKind::Adjusted => return None,
    };
    let recipient = row.recipients.first()?;
    let event_id = EventId::derived(&[
        key.site.as_str().as_bytes(),
        key.egress.as_str().as_bytes(),
        job.id.as_str().as_bytes(),
        kind.as_str().as_bytes(),
        &change.at.0.to_be_bytes(),
        change.what.as_bytes(),
    ]);
    Some(Effect::Event(Box::new(Event {
        event_id,
        kind,
        tenant: row.tenant.clone(),
        about: Some(About {
            message_id: row.key.message.clone(),
            recipient: recipient.address.clone(),
            lane: row.facts.lane,
        }),
        tags: row.facts.tags.clone(),
        at: change.at,
        attempt: None,
        next_attempt_at: None,
        site: Some(SiteChange {
            site: key.site.to_string(),
            egress: key.egress.as_str().to_owned(),
            what: change.what.clone(),
            reply: change.reply.clone(),
            by: change.by.clone(),
        }),
        domain: None,
    })))
}
