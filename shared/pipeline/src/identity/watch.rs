//! Every proved domain, looked at again and again: its keys move on as they appear in DNS, and what has become worse is
//! told before receivers tell it.

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use posthaste_auth::Dns;
use posthaste_auth::audit::{Audit, Finding, Severity, audit};
use posthaste_auth::dns::CheckSpf;
use posthaste_auth::drift::{Drift, Standing, drifted};
use posthaste_mail::{Domain, EventId, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

use super::manage::{Registration, audit_subject, register, verify};
use super::{DomainReport, Identity, KeyState};
use crate::ambient::Ambient;
use crate::effect::{DomainChange, Effect, Event, EventKind};
use crate::meter::Happened;
use crate::stores::{StoreError, Stores};

/// Domains looked at side by side: a look is mostly waiting for name servers.
const AT_ONCE: usize = 32;
/// Domains of one page.
const PAGE: usize = 100;
/// Of the time between two looks at a domain, the part by which a look may come early: whoever calls does so by a clock of
/// his own.
const EARLY: u32 = 10;

/// What the latest look at a domain came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Whose.
    pub tenant: Tenant,
    /// The domain.
    pub domain: Domain,
    /// When.
    pub at: Timestamp,
    /// How each check stood when it was last known.
    pub standing: Standing,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Watched {
    /// How the worst of its checks stands.
    pub fn worst(&self) -> Severity {
        self.standing.values().max().copied().unwrap_or(Severity::Ok)
    }
}

/// Keeps how domains fare.
#[async_trait]
pub trait Watches: Send + Sync {
    /// A page of every tenant's proved domains in their order, after one; without a tenant where it was given up since.
    async fn proved(
        &self,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<(Domain, Option<Tenant>)>, StoreError>;
    /// The latest look at each of a tenant's domains, in order.
    async fn watched(&self, tenant: &Tenant, domains: &[Domain]) -> Result<Vec<Option<Watched>>, StoreError>;
    /// Puts the latest look in the place of the one before.
    async fn keep(&self, watched: &Watched) -> Result<(), StoreError>;
    /// Keeps a report for [`super::REPORTS_KEPT_FOR`]; false: it was there.
    async fn report(&self, report: &DomainReport) -> Result<bool, StoreError>;
    /// Reports of a tenant's domain whose period began at that time or later, newest first, at most `limit`.
    async fn reports(
        &self,
        tenant: &Tenant,
        domain: &Domain,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<DomainReport>, StoreError>;
}

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// Domains that were looked at.
    pub looked_at: usize,
    /// Of these, with errors.
    pub wrong: usize,
    /// Checks that have become worse.
    pub drifted: usize,
    /// Domains that could not be looked at.
    pub failed: usize,
}

/// Looks at every proved domain whose time has come. May be stopped anywhere: the next round goes on with those that are
/// left.
pub async fn round<D: Dns + CheckSpf>(
    ambient: &Ambient,
    stores: &Stores,
    dns: &D,
) -> Result<Round, StoreError> {
    let (mut round, mut after) = (Round::default(), None::<Domain>);
    loop {
        let page = stores.watches.proved(after.as_ref(), PAGE).await?;
        let Some((last, _)) = page.last() else {
            ambient.note(Happened::DomainsWrong(round.wrong));
            return Ok(round);
        };
        after = Some(last.clone());
        let looks = page.into_iter().filter_map(|(domain, tenant)| Some((tenant?, domain)));
        let looks = stream::iter(looks).map(|(tenant, domain)| async move {
            let looked = look(ambient, stores, dns, &tenant, &domain).await;
            looked.inspect_err(|error| tracing::warn!(%error, %domain, "a domain could not be looked at"))
        });
        let mut looks = looks.buffer_unordered(AT_ONCE);
        while let Some(looked) = looks.next().await {
            match looked {
                Ok(Some((watched, drifted))) => {
                    round.looked_at += 1;
                    round.drifted += drifted;
                    round.wrong += usize::from(watched.worst() == Severity::Error);
                }
                Ok(None) => {}
                Err(_) => round.failed += 1,
            }
        }
    }
}

/// Looks at one domain, if its time has come; how many of its checks are worse than before.
async fn look<D: Dns + CheckSpf>(
    ambient: &Ambient,
    stores: &Stores,
    dns: &D,
    tenant: &Tenant,
    domain: &Domain,
) -> Result<Option<(Watched, usize)>, StoreError> {
    let policy = ambient.policy.get();
    let every = policy.auth.audit_every;
    let before = stores.watches.watched(tenant, std::slice::from_ref(domain)).await?.pop().flatten();
    let is_due = |watched: &Watched| ambient.now().since(watched.at) >= every.saturating_sub(every / EARLY);
    if !before.as_ref().is_none_or(is_due) {
        return Ok(None);
    }
    let Some(identity) = moved_on(ambient, stores, dns, tenant, domain).await? else { return Ok(None) };
    let mut egress = Vec::new();
    let subject = audit_subject(&policy, domain, Some(&identity), &mut egress);
    let Audit { findings, .. } = audit(dns, dns, &subject).await;
    let found = Audit { domain: domain.clone(), findings };
    let known = before.as_ref().map(|before| before.standing.clone()).unwrap_or_default();
    let (standing, drifts) = drifted(&known, &found);
    let at = ambient.now();
    let watched =
        Watched { tenant: tenant.clone(), domain: domain.clone(), at, standing, findings: found.findings };
    // Told before it is kept: whoever dies in between tells the same again, under the same id.
    let since = before.map_or(Timestamp::default(), |before| before.at);
    let events: Vec<Event> = drifts.into_iter().map(|drift| event(&watched, since, drift)).collect();
    let effects = events.iter().map(|event| Effect::Event(Box::new(event.clone()))).collect();
    stores.ledger.perform(effects).await?;
    for event in &events {
        ambient.note(Happened::Told { event, waited: Duration::ZERO });
    }
    stores.watches.keep(&watched).await?;
    Ok(Some((watched, events.len())))
}

/// The identity after its keys have moved on: published ones are used, old ones go, and the next is made when it is time.
async fn moved_on<D: Dns + CheckSpf>(
    ambient: &Ambient,
    stores: &Stores,
    dns: &D,
    tenant: &Tenant,
    domain: &Domain,
) -> Result<Option<Identity>, StoreError> {
    if let Err(error) = verify(ambient, stores, dns, tenant, domain).await {
        tracing::warn!(%error, %domain, "a domain's keys could not be looked after");
    }
    let Some(identity) = stores.identities.get(tenant, domain).await? else { return Ok(None) };
    let Some(after) = ambient.policy.get().auth.rotate_after else { return Ok(Some(identity)) };
    if !is_old(&identity, after, ambient.now()) {
        return Ok(Some(identity));
    }
    match register(ambient, stores, tenant, domain, &Registration::default(), true).await {
        Ok(identity) => Ok(Some(identity)),
        Err(error) => {
            tracing::warn!(%error, %domain, "the next key could not be made");
            Ok(Some(identity))
        }
    }
}

/// Whether a key has been used for so long, and none waits to take its place.
fn is_old(identity: &Identity, after: Duration, now: Timestamp) -> bool {
    let waits = identity.keys.iter().any(|key| key.state == KeyState::Pending);
    !waits && identity.active().any(|key| now.since(key.since) >= after)
}

fn event(watched: &Watched, since: Timestamp, Drift { was, now }: Drift) -> Event {
    let parts = [watched.tenant.as_str(), watched.domain.as_str(), now.check.as_str(), now.severity.as_str()];
    let mut parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    let since = since.0.to_be_bytes();
    parts.push(&since);
    Event {
        event_id: EventId::derived(&parts),
        kind: EventKind::AuthDrifted,
        tenant: watched.tenant.clone(),
        about: None,
        tags: Default::default(),
        at: watched.at,
        attempt: None,
        next_attempt_at: None,
        site: None,
        domain: Some(DomainChange {
            domain: watched.domain.clone(),
            check: now.check,
            was,
            now: now.severity,
            seen: now.seen,
            mend: now.mend,
        }),
    }
}
