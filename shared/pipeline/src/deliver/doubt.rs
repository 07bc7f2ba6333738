//! Counts what a receiver says of mailboxes, and believes it no longer when that is past belief: see
//! [`posthaste_policy::standing::breaker`]. What it said a moment before counts no longer either: those suppressions
//! are made to end when the doubt does.

use std::collections::VecDeque;
use std::time::Duration;

use posthaste_mail::{Stage, Timestamp};
use posthaste_policy::standing::breaker::{Tally, WITHIN};
use posthaste_policy::standing::{Signal, SignalOf};
use posthaste_policy::{Action, Category, Suppress};

use super::Inner;
use super::dial::Line;
use super::place::Place;
use super::wired::Wired;
use crate::effect::{Evidence, Reason, Suppression};
use crate::machine::Told;
use crate::row::{Job, Row};
use crate::stores::StoreError;

/// Refusals of mailboxes that are told to the store together …
const BAD_TOGETHER: u64 = 5;
/// … or deliveries; what was not told when the process ends is not missed …
const DELIVERED_TOGETHER: u64 = 200;
/// … unless so long has passed.
const TOLD_AFTER: Duration = Duration::from_secs(5);
/// What was said before a receiver was doubted is written down after so long.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);
/// Suppressions remembered of one receiver: what it said lately.
const LATELY_MAX: usize = 2_000;

/// What this process heard of one receiver's mailboxes.
#[derive(Default)]
pub(super) struct Heard {
    untold: Tally,
    told_at: Timestamp,
    lately: VecDeque<Suppression>,
}

impl Heard {
    /// Adds; what is to be told now, if anything.
    fn add(&mut self, tally: Tally, now: Timestamp) -> Option<Tally> {
        self.untold = self.untold.and(tally);
        let is_due = self.untold.bad >= BAD_TOGETHER
            || self.untold.delivered >= DELIVERED_TOGETHER
            || (self.untold.bad > 0 && now.since(self.told_at) >= TOLD_AFTER);
        if !is_due {
            return None;
        }
        self.told_at = now;
        Some(std::mem::take(&mut self.untold))
    }

    fn remember(&mut self, entries: impl IntoIterator<Item = Suppression>, now: Timestamp) {
        self.lately.extend(entries);
        while self.lately.len() > LATELY_MAX
            || self.lately.front().is_some_and(|entry| now.since(entry.created_at) > WITHIN)
        {
            self.lately.pop_front();
        }
    }
}

/// What one transaction said of mailboxes; nothing in the sandbox, which scripts it.
pub(super) fn place_of(line: Option<&Line>) -> Option<Place> {
    line.map(|line| line.site.clone()).filter(|site| site.paced.is_some())
}

impl Inner {
    /// Counts what a job's recipients were told, and cuts short what a receiver in doubt says of mailboxes.
    pub(super) async fn count_mailboxes(
        &self,
        wired: &Wired,
        job: &Job,
        site: &Place,
        row: &Row,
        (told, known_bad): (&mut [Told], u64),
    ) {
        let Some(paced) = &site.paced else { return };
        let now = self.ambient.now();
        let is_bad = |told: &&mut Told| {
            told.verdict.category == Category::BadMailbox
                && told.verdict.action == Action::Bounce
                && told.stage >= Stage::Rcpt
        };
        let delivered = told.iter().filter(|told| told.verdict.action == Action::Deliver).count() as u64;
        let bad = told.iter_mut().filter(is_bad).count() as u64;
        if bad > 0 {
            let lately: Vec<Suppression> =
                told.iter_mut().filter(is_bad).filter_map(|told| suppression(row, told, now)).collect();
            paced.locked().mailboxes.remember(lately, now);
        }
        let tally = Tally { delivered, bad, known_bad };
        let due = paced.locked().mailboxes.add(tally, now);
        let counted = async {
            if let Some(due) = due
                && let Some(why) = self.paces.pacer().tally(&paced.key, due, now).await?.doubt()
            {
                self.doubt(wired, job, site, &why).await?;
            }
            if bad == 0 {
                return Ok(());
            }
            // What it says while it is doubted counts until it is not.
            let left = self.paces.view(paced).await?.standing.doubted_until.since(self.ambient.now());
            for told in told.iter_mut().filter(|_| !left.is_zero()).filter(is_bad) {
                if let Suppress::For(span) = told.verdict.suppress {
                    told.verdict.suppress = Suppress::For(span.min(left));
                }
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = counted.await {
            tracing::warn!(%error, site = paced.key.site.as_str(), "what a receiver says of mailboxes was not counted");
        }
    }

    /// Leaves a receiver alone that is not to be believed. What it made us suppress lately ends when that does.
    async fn doubt(&self, wired: &Wired, job: &Job, site: &Place, why: &str) -> Result<(), StoreError> {
        let (Some(paced), Some(domain)) = (&site.paced, &job.domain) else { return Ok(()) };
        let signal = Signal {
            of: SignalOf::Doubted { why },
            site: &paced.key.site,
            domain,
            sender: job.sender.as_ref(),
            now: self.ambient.now(),
        };
        let changes = self.paces.tell(paced, &site.limits(&wired.policy), &wired.policy, &signal).await?;
        if !changes.is_empty() {
            self.announce(job, &paced.key, changes).await?;
        }
        // Others that heard the same are writing it down.
        tokio::time::sleep(SETTLES_WITHIN).await;
        let until = self.paces.view(paced).await?.standing.doubted_until;
        let lately = std::mem::take(&mut paced.locked().mailboxes.lately);
        for entry in lately.into_iter().filter(|entry| entry.expires_at.is_none_or(|end| until < end)) {
            let note = Some(format!("provisional: {why}"));
            let evidence = Evidence { note, ..entry.evidence.clone() };
            let entry = Suppression { expires_at: Some(until), evidence, ..entry };
            self.stores.suppressions.put(entry).await?;
        }
        Ok(())
    }
}

/// The entry that follows from what a recipient was told.
fn suppression(row: &Row, told: &Told, now: Timestamp) -> Option<Suppression> {
    let Suppress::For(span) = told.verdict.suppress else { return None };
    Some(Suppression {
        tenant: row.tenant.clone(),
        realm: row.facts.realm,
        address: row.recipients.get(told.recipient)?.address.clone(),
        lane: None,
        reason: Reason::Bounce(told.verdict.category),
        expires_at: Some(now.plus(span)),
        created_at: now,
        evidence: Evidence {
            message_id: Some(row.key.message.clone()),
            reply: told.reply.as_ref().map(ToString::to_string),
            note: None,
        },
    })
}
