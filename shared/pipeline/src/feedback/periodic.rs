//! Reports over a period, about a sender domain and no delivery: DMARC aggregates and TLS reports.

use super::{Arrived, Taken};
use crate::ambient::Ambient;
use crate::identity::{DomainReport, take_report};
use crate::stores::{StoreError, Stores};

/// Sums a report over a period up, for the tenant whose domain it is about.
pub(super) async fn count(
    ambient: &Ambient,
    stores: &Stores,
    arrived: &Arrived<'_>,
) -> Result<Result<Taken, String>, StoreError> {
    let Some(attached) = posthaste_feedback::attachment(arrived.raw) else {
        return Ok(Err("a report over a period without the report".to_owned()));
    };
    // It may be eight megabytes of XML.
    let read = tokio::task::spawn_blocking(move || posthaste_auth::reports::read(&attached)).await;
    let summary = match read {
        Ok(Ok(summary)) => summary,
        Ok(Err(why)) => return Ok(Err(format!("a report over a period that cannot be read: {why}"))),
        Err(_) => return Ok(Err("a report over a period that cannot be read".to_owned())),
    };
    let domain = summary.domain.clone();
    Ok(match take_report(ambient, stores, summary, arrived.by.as_ref()).await? {
        Some(DomainReport { identity, id, .. }) => Ok(Taken::Reported { domain: identity, id }),
        None => Err(format!("a report over a period on {domain}, which nobody here has proved")),
    })
}
