//! Whether a tenant may submit so much now: one question to the store for a whole request, and none where nothing is
//! limited.

use std::time::Duration;

use posthaste_mail::{Tenant, Timestamp};
use posthaste_policy::QuotaLimits;

use super::refusal::{FieldError, Refusal};
use crate::access::Taken;
use crate::row::Row;
use crate::stores::{Acceptance, Quotas};

/// A clock that has just reached the end of a window still waits this long: a client that is told 0 s asks at once.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// All recipients of a submission, each once: those of its row, and those of the parts it will be split into.
pub(super) fn recipients(row: &Row) -> usize {
    row.recipients.len() + row.parts.iter().map(|part| part.recipients.len()).sum::<usize>()
}

/// Counts all recipients of what is about to be accepted, or refuses all of it.
pub(super) async fn take(
    quotas: &dyn Quotas,
    limits: &QuotaLimits,
    tenant: &Tenant,
    now: Timestamp,
    built: &[Result<Acceptance, Refusal>],
) -> Result<(), Refusal> {
    let asked: usize = built.iter().flatten().map(|acceptance| recipients(&acceptance.row)).sum();
    let asked = asked as u64;
    let Some(largest) = limits.largest_grant().filter(|_| asked > 0) else { return Ok(()) };
    if asked > largest {
        let detail =
            format!("{asked} recipients, and the tenant's quota is {largest}: ask for fewer at once");
        return Err(FieldError::new("", detail).into());
    }
    match quotas.take(tenant, asked, now, limits).await {
        Ok(Taken::Granted) => Ok(()),
        Ok(Taken::Until(until)) => Err(Refusal::OverQuota { wait: until.since(now).max(WAIT_MIN) }),
        Err(error) => {
            tracing::error!(%error, "submissions were not accepted: what the tenant has submitted cannot be counted");
            Err(Refusal::Unavailable)
        }
    }
}
