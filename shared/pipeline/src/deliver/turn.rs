//! Whose turn it is at a receiver, and when the others come back. A job that is told to wait takes a ticket; how long
//! that means is worked out anew each time, from the rate there is then. What waits is not in hand: it is in its queue
//! up to a quarter of an hour, and looked at again then, since rates rise too; where a receiver is closed for longer it
//! is parked.

use std::time::Duration;

use posthaste_mail::{Domain, Timestamp};
use posthaste_policy::pacing::Micros;
use posthaste_policy::pacing::line::{BELIEVED, FORGOTTEN_AFTER, Line, NEAR, turn_in};
use posthaste_policy::rate::Period;
use posthaste_policy::standing::{Allowed, Gate};
use posthaste_policy::{Given, Limits, Rate};
use tokio::time::Instant;

use super::paces::{Paced, Refused, Wish};
use super::place::Place;
use super::trunk::{Probe, Trunk, Work};
use super::way::{Way, sandbox_allows};
use super::{Disposition, Inner};
use crate::machine::DELAY_MAX;
use crate::meter::Happened;
use crate::pacer::{LineKey, View};
use crate::row::{Job, Ticket, Track};
use crate::stores::StoreError;

/// Jobs that come back when a receiver opens, or has a connection to give, do so over this time.
const SPREAD: Duration = Duration::from_secs(2);
/// How long a job waits for a pacer that is down.
const PACER_OUTAGE_WAIT: Duration = Duration::from_secs(5);

/// What is to be done with a job before it stands in a trunk.
pub(super) enum Turn {
    /// It may go now.
    Now(Probe),
    /// Not before then, and then in line.
    Wait(Timestamp),
    /// It goes now, where it holds up nobody else's mail.
    Aside,
}

impl Inner {
    /// What may be sent at a place now; if that cannot be known, when to ask again.
    pub(super) async fn allowed(&self, site: &Place, sender: Option<&Domain>) -> Result<Allowed, Timestamp> {
        let Some(paced) = &site.paced else { return Ok(sandbox_allows()) };
        let allowed = self.paces.allowed(paced, &site.limits(&self.ambient.policy.get()), sender).await;
        allowed.map_err(|error| self.pacer_failed(&error))
    }

    /// When to ask a pacer again that did not answer.
    pub(super) fn pacer_failed(&self, error: &StoreError) -> Timestamp {
        tracing::warn!(%error, "the pacer does not answer; mail waits");
        self.ambient.note(Happened::StoreFailed);
        self.ambient.now().plus(PACER_OUTAGE_WAIT)
    }

    /// Whether it is a job's turn, and what its receiver is given now.
    pub(super) async fn turn(&self, job: &Job, way: &Way, trunk: &Trunk) -> Result<Turn, Timestamp> {
        let Some(key) = &way.pace else {
            trunk.allow(&sandbox_allows(), 1);
            return Ok(Turn::Now(Probe::No));
        };
        let paced = self.paces.of(key);
        let view = self.paces.view(&paced).await.map_err(|error| self.pacer_failed(&error))?;
        let now = self.ambient.now();
        let allowed = view.standing.allowed(&way.limits, job.sender.as_ref(), now);
        trunk.allow(&allowed, way.limits.connections.value);
        match &allowed.gate {
            Gate::Closed { until, .. } => return Ok(Turn::Wait(*until)),
            Gate::Probe => {
                let probes = self.paces.probes(&paced, job.sender.as_ref()).await;
                return match probes.map_err(|error| self.pacer_failed(&error))? {
                    true => Ok(Turn::Now(Probe::Yes)),
                    false => Ok(Turn::Wait(now.plus(SPREAD))),
                };
            }
            Gate::Open => {}
        }
        if job.track == Track::Own && (view.standing.failures > 0 || trunk.is_sluggish()) {
            return Ok(Turn::Aside);
        }
        let is_busy = paced.tat().is_some_and(|tat| tat > Micros::at(now));
        if is_busy && in_line(job, &view, &paced, &allowed, trunk).is_some_and(|wait| wait > NEAR) {
            return Ok(Turn::Wait(now));
        }
        Ok(Turn::Now(Probe::No))
    }

    /// Gives a job back that has to wait: in line, and not before `least`.
    pub(super) async fn wait(&self, job: &Job, way: &Way, trunk: &Trunk, least: Timestamp) -> Disposition {
        self.ambient.note(Happened::Paced { lane: job.lane });
        let Some(key) = &way.pace else { return Disposition::KeepUntil(least.min(job.expires)) };
        let paced = self.paces.of(key);
        match self.place_in_line(job, way, &paced, trunk).await {
            Ok((ticket, wait)) => {
                let now = self.ambient.now();
                let spread = SPREAD.mul_f64(self.ambient.chance.unit());
                let due = if wait > NEAR {
                    now.plus(wait.min(BELIEVED)).max(least)
                } else if least > now {
                    // Its turn has come, and there was no connection for it, or no leave.
                    least.plus(spread)
                } else {
                    trunk.slot(now)
                };
                self.come_back(job, ticket, due.min(job.expires)).await
            }
            Err(error) => Disposition::KeepUntil(self.pacer_failed(&error).min(job.expires)),
        }
    }

    async fn come_back(&self, job: &Job, ticket: Ticket, due: Timestamp) -> Disposition {
        let now = self.ambient.now();
        if due.since(now) > DELAY_MAX
            && let Some(disposition) = self.claims.park(job, &ticket, due).await
        {
            return disposition;
        }
        let due = due.min(now.plus(DELAY_MAX));
        Disposition::Again(Box::new(Job { due, ticket: Some(ticket), track: Track::Slow, ..job.clone() }))
    }

    /// The job's place, taken now if it has none, and how long that is from its turn.
    async fn place_in_line(
        &self,
        job: &Job,
        way: &Way,
        paced: &Paced,
        trunk: &Trunk,
    ) -> Result<(Ticket, Duration), StoreError> {
        let now = Micros::at(self.ambient.now());
        let ticket = match known_ticket(job, paced) {
            Some(ticket) => ticket.clone(),
            None => {
                let line = LineKey { key: paced.key.clone(), lane: job.lane, tenant: job.tenant.clone() };
                let places = u64::from(job.recipients.max(1));
                let place = self.paces.pacer().ticket(&line, places, now).await?;
                Ticket { site: paced.key.site.to_string(), place }
            }
        };
        let view = self.paces.view(paced).await?;
        self.forget_the_gone(job, &view, paced).await?;
        let allowed = view.standing.allowed(&way.limits, job.sender.as_ref(), self.ambient.now());
        let there = Job { ticket: Some(ticket.clone()), ..job.clone() };
        let wait = in_line(&there, &view, paced, &allowed, trunk).unwrap_or_default();
        Ok((ticket, wait))
    }

    /// A line in which nobody moves though its receiver has nothing to do is one of places that were cancelled.
    async fn forget_the_gone(&self, job: &Job, view: &View, paced: &Paced) -> Result<(), StoreError> {
        let now = Micros::at(self.ambient.now());
        let long_ago = now.plus(-i64::try_from(FORGOTTEN_AFTER.as_micros()).unwrap_or(0));
        let Some(line) = line_of(job, view).filter(|line| line.waiting() > 0) else { return Ok(()) };
        if line.moved < long_ago && paced.tat().is_none_or(|tat| tat < long_ago) {
            let key = LineKey { key: paced.key.clone(), lane: job.lane, tenant: job.tenant.clone() };
            self.paces.pacer().forget(&key, line, now).await?;
        }
        Ok(())
    }

    /// A job is through with its place in line, however it ended.
    pub(super) async fn left_the_line(&self, job: &Job, way: &Way) {
        let Some(paced) = way.pace.as_ref().map(|key| self.paces.of(key)) else { return };
        if known_ticket(job, &paced).is_some() {
            self.paces.served(&paced, job.lane, &job.tenant, u64::from(job.recipients.max(1))).await;
        }
    }

    /// Asks for leave to send recipients over a connection, a `lead` before it is used; waits until that is near. Else:
    /// when to ask again.
    pub(super) async fn leave(
        &self,
        site: &Place,
        work: &Work,
        more: u32,
        recipients: u32,
    ) -> Result<Leave, Timestamp> {
        let lead = site.paced.as_ref().map(|paced| paced.lead()).unwrap_or_default();
        self.leave_with(site, work, more, recipients, lead).await
    }

    /// Leave for a transaction that is ready to begin.
    pub(super) async fn another(
        &self,
        site: &Place,
        work: &Work,
        recipients: u32,
    ) -> Result<Leave, Timestamp> {
        self.leave_with(site, work, 0, recipients, Duration::ZERO).await
    }

    async fn leave_with(
        &self,
        site: &Place,
        work: &Work,
        more: u32,
        recipients: u32,
        lead: Duration,
    ) -> Result<Leave, Timestamp> {
        let always = Leave { recipients, at: None, given: Instant::now() };
        let Some(paced) = &site.paced else { return Ok(always) };
        // A probe is one message, let through by its standing.
        if work.probe == Probe::Yes {
            return Ok(always);
        }
        let sender = work.job.sender.as_ref();
        let lane = work.job.lane;
        let site_limits = site.limits(&self.ambient.policy.get());
        let allowed = self.allowed(site, sender).await?;
        if allowed.sender_a_second < allowed.a_second
            && let Some(sender) = sender
        {
            let key = crate::pacer::PaceKey { sender: Some(sender.clone()), ..paced.key.clone() };
            let limits = beneath(&site_limits, allowed.sender_a_second);
            let apart = self.paces.of(&key);
            self.spend(&apart, &Wish { lane, recipients, more: 0, limits: &limits, sender: None, lead })
                .await?;
        }
        let wish = Wish { lane, recipients, more, limits: &site_limits, sender, lead };
        let at = self.spend(paced, &wish).await?;
        Ok(Leave { recipients, at: Some(at), given: Instant::now() })
    }

    /// Waits for the very moment for which leave was given; where that has passed, asks for another.
    pub(super) async fn begin(&self, site: &Place, work: &Work, leave: &Leave) -> Result<(), Timestamp> {
        let (Some(paced), Some(mut at)) = (&site.paced, leave.at) else { return Ok(()) };
        paced.led(leave.given.elapsed());
        for _ in 0..BEGINS_MAX {
            let now = Micros::at(self.ambient.now());
            if at > now {
                tokio::time::sleep(Duration::from_micros((at.0 - now.0).unsigned_abs())).await;
            }
            // Who comes too late has lost it: a stall is not followed by a burst.
            if paced.is_good(work.job.lane, at, Micros::at(self.ambient.now())) {
                return Ok(());
            }
            match self.another(site, work, leave.recipients).await?.at {
                Some(another) => at = another,
                None => return Ok(()),
            }
        }
        Err(self.ambient.now())
    }

    /// The time of the first token; returns when that is no further off than the lead.
    async fn spend(&self, paced: &Paced, wish: &Wish<'_>) -> Result<Micros, Timestamp> {
        /// Tokens whose time is further off than this are not waited for with a connection in hand.
        const TOKEN_WAIT_MAX: Duration = Duration::from_secs(5);
        let begun = self.ambient.now();
        loop {
            match self.paces.tokens(paced, wish).await {
                Ok(at) => {
                    let near = at.up().minus(wish.lead);
                    if near > self.ambient.now() {
                        tokio::time::sleep_until(self.instant(near)).await;
                    }
                    return Ok(at);
                }
                Err(Refused::Store(error)) => return Err(self.pacer_failed(&error)),
                Err(Refused::Later(at)) if at.since(begun) > TOKEN_WAIT_MAX => return Err(at),
                Err(Refused::Later(at)) => {
                    tokio::time::sleep_until(self.instant(at.plus(Duration::from_millis(1)))).await;
                }
            }
        }
    }
}

/// Leave for one transaction.
pub(super) struct Leave {
    recipients: u32,
    /// When it may begin; none: at any time.
    at: Option<Micros>,
    given: Instant,
}

/// Moments asked for one transaction that is late each time: its job comes again.
const BEGINS_MAX: u32 = 8;

/// The place of a job at a receiver, if it has one there.
fn known_ticket<'a>(job: &'a Job, paced: &Paced) -> Option<&'a Ticket> {
    job.ticket.as_ref().filter(|ticket| ticket.site == paced.key.site.as_str())
}

fn line_of<'a>(job: &Job, view: &'a View) -> Option<&'a Line> {
    view.lines
        .iter()
        .find(|(lane, tenant, _)| *lane == job.lane && *tenant == job.tenant)
        .map(|(_, _, line)| line)
}

/// How long a job waits behind those who were told to wait before it; none where nobody was.
fn in_line(job: &Job, view: &View, paced: &Paced, allowed: &Allowed, trunk: &Trunk) -> Option<Duration> {
    let others = view
        .lines
        .iter()
        .filter(|(lane, tenant, line)| line.waiting() > 0 && (*lane != job.lane || *tenant != job.tenant))
        .map(|(lane, _, line)| (*lane, line.waiting()));
    let ticket = known_ticket(job, paced).map(|ticket| ticket.place);
    let outlook = allowed.outlook.at_most(trunk.serves());
    turn_in(line_of(job, view), ticket, job.lane, others, &outlook)
}

/// The limits of a sending domain that is treated apart: its own rate, from the first message.
fn beneath(limits: &Limits, a_second: f64) -> Limits {
    let an_hour = (a_second * 3_600.0).clamp(1.0, f64::from(u32::MAX));
    let rate = Rate::Per { count: an_hour as u32, period: Period::Hour };
    Limits {
        rate: Given { value: rate, by: limits.rate.by.clone() },
        start: Given { value: None, by: limits.start.by.clone() },
        ..limits.clone()
    }
}
