//! The clock: once a minute, or oftener on one machine, it sends the jobs of rows whose wake has come. The job is
//! sent first and the wake moved after, so that a crash between loses nothing.

use std::collections::HashSet;

use posthaste_mail::PartKey;

use crate::ambient::Ambient;
use crate::machine::overdue;
use crate::stores::{StoreError, Stores};

/// Rows looked at in one page.
const PAGE: usize = 200;
/// Pages in one tick: what is left waits for the next.
const PAGES_MAX: usize = 500;

/// What a tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Jobs sent.
    pub sent: usize,
    /// Rows sent on their way again, or cancelled, for holds.
    pub released: usize,
}

/// Looks after every row whose wake has come.
pub async fn tick(ambient: &Ambient, stores: &Stores) -> Result<Ticked, StoreError> {
    let mut ticked = Ticked { released: crate::holds::tend(ambient, stores).await?, ..Ticked::default() };
    // Where the index lags behind the rows, a page shows again what was just seen to.
    let mut seen: HashSet<PartKey> = HashSet::new();
    for _ in 0..PAGES_MAX {
        let now = ambient.now();
        let rows = stores.ledger.overdue(now, PAGE).await?;
        let full = rows.len() == PAGE;
        let (mut jobs, mut steps) = (Vec::new(), Vec::new());
        for row in rows.iter().filter(|row| seen.insert(row.key.clone())) {
            if let Some(overdue) = overdue(row, now, ambient.job_id()) {
                jobs.extend(overdue.job);
                steps.push(overdue.step);
            }
        }
        if steps.is_empty() {
            break;
        }
        ticked.sent += jobs.len();
        if !jobs.is_empty() {
            stores.later.put(jobs).await?;
        }
        // A row that has moved on meanwhile keeps its own wake.
        stores.ledger.apply(steps).await?;
        if !full {
            break;
        }
    }
    Ok(ticked)
}
