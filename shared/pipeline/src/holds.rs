//! Holds and recall. A hold is put before anything else happens: from then on nothing it matches is tried. What is
//! parked under it costs nothing until it is released; then the clock sends it on its way, a page at a time, and a
//! recall cancels what it finds, whether it was tried yet or not.

use posthaste_mail::{MessageId, Tenant, Timestamp};

use crate::ambient::Ambient;
use crate::control;
use crate::deliver::hold::matches;
use crate::machine::release;
use crate::row::{Row, State};
use crate::stores::{Hold, HoldAction, HoldOn, Search, SearchBy, StoreError, Stores, Sweep};

/// Rows released in one page.
const PAGE: usize = 200;
/// Pages of one hold in one tick: what is left waits for the next.
const PAGES_MAX: usize = 100;
/// Messages looked through in one page of a recall.
const SWEPT: usize = 100;
/// Pages of one recall in one tick.
const SWEEPS_MAX: usize = 50;
/// A hold that was released stays so much longer than its last row was found: whoever read it before may park one yet.
const SETTLES_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// Puts a hold on what was accepted until now.
pub async fn put(
    ambient: &Ambient,
    stores: &Stores,
    tenant: Option<Tenant>,
    what: HoldOn,
    action: HoldAction,
) -> Result<Hold, StoreError> {
    let octets = ambient.chance.octets();
    let name: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let sweep = match (action, &tenant) {
        (HoldAction::Cancel, Some(_)) => Sweep::First,
        // Without a tenant there is no list of messages to look through: each is cancelled when its job comes.
        _ => Sweep::Over,
    };
    let hold = Hold { action, sweep, ..Hold::new(format!("hold_{name}"), tenant, what, ambient.now()) };
    stores.controls.put_hold(hold.clone()).await?;
    Ok(hold)
}

/// Releases a hold: from now on it holds nothing, and what was parked under it is sent on its way.
pub async fn release_hold(ambient: &Ambient, stores: &Stores, hold: &Hold) -> Result<(), StoreError> {
    if hold.released.is_none() {
        let released = Hold { released: Some(ambient.now()), ..hold.clone() };
        stores.controls.put_hold(released).await?;
    }
    Ok(())
}

/// Looks after every hold: sends on what was released, cancels what is recalled. How many rows were written.
pub async fn tend(ambient: &Ambient, stores: &Stores) -> Result<usize, StoreError> {
    let mut written = 0;
    for hold in stores.controls.holds().await? {
        written += tend_one(ambient, stores, &hold).await?;
    }
    Ok(written)
}

/// Looks after one hold.
pub async fn tend_one(ambient: &Ambient, stores: &Stores, hold: &Hold) -> Result<usize, StoreError> {
    match (&hold.released, hold.action) {
        (Some(at), _) => send_on(ambient, stores, hold, *at).await,
        (None, HoldAction::Cancel) => recall(ambient, stores, hold).await,
        (None, HoldAction::Hold) => Ok(0),
    }
}

async fn send_on(
    ambient: &Ambient,
    stores: &Stores,
    hold: &Hold,
    since: Timestamp,
) -> Result<usize, StoreError> {
    let mut written = 0;
    for _ in 0..PAGES_MAX {
        let rows = stores.ledger.held(&hold.id, PAGE).await?;
        let now = ambient.now();
        let steps: Vec<_> =
            rows.iter().filter_map(|row| release(row, &hold.id, now, ambient.job_id())).collect();
        if steps.is_empty() {
            if now.since(since) > SETTLES_WITHIN {
                stores.controls.remove_hold(&hold.id).await?;
            }
            return Ok(written);
        }
        written += steps.len();
        // One that another has written meanwhile is found again, or is on its way.
        stores.ledger.apply(steps).await?;
    }
    Ok(written)
}

async fn recall(ambient: &Ambient, stores: &Stores, hold: &Hold) -> Result<usize, StoreError> {
    let mut cancelled = 0;
    // What was parked under it by then: a recall may follow a hold of the same name.
    for row in stores.ledger.held(&hold.id, PAGE).await? {
        cancelled += usize::from(end(ambient, stores, &row.tenant, row.message()).await?);
    }
    let Some(tenant) = &hold.tenant else { return forget_old(ambient, stores, hold, cancelled).await };
    if let HoldOn::Message(id) = &hold.what {
        if hold.sweep != Sweep::Over {
            cancelled += usize::from(end(ambient, stores, tenant, id).await?);
            let done = Hold { sweep: Sweep::Over, ..hold.clone() };
            stores.controls.put_hold(done).await?;
        }
        return forget_old(ambient, stores, hold, cancelled).await;
    }
    let mut sweep = hold.sweep.clone();
    for _ in 0..SWEEPS_MAX {
        let after = match &sweep {
            Sweep::Over => return forget_old(ambient, stores, hold, cancelled).await,
            Sweep::First => None,
            Sweep::After(cursor) => Some(cursor.clone()),
        };
        let by = match &hold.what {
            HoldOn::Tag(tag) => {
                let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
                SearchBy::Tag { name: name.to_owned(), value: value.to_owned() }
            }
            _ => SearchBy::All,
        };
        let search = Search { tenant: tenant.clone(), by, after, limit: SWEPT };
        let found = stores.ledger.find(&search).await?;
        for id in &found.ids {
            let rows = stores.ledger.message(tenant, id).await?;
            if rows.iter().any(|row| is_open(row) && (matches(hold, row) || matches_a_part(hold, row))) {
                cancelled += usize::from(end(ambient, stores, tenant, id).await?);
            }
        }
        sweep = found.next.map_or(Sweep::Over, Sweep::After);
        let swept = Hold { sweep: sweep.clone(), ..hold.clone() };
        stores.controls.put_hold(swept).await?;
    }
    Ok(cancelled)
}

fn is_open(row: &Row) -> bool {
    !matches!(row.state, State::Done)
}

/// A head that is not split yet has parts that may be meant: it is its parts that a domain's recall ends, when they
/// are there; what has no domain is meant by tag, lane and message only.
fn matches_a_part(hold: &Hold, row: &Row) -> bool {
    row.domain.is_none() && !matches!(hold.what, HoldOn::Domain(_) | HoldOn::Site(_)) && matches(hold, row)
}

/// Cancels a message; whether there was one.
async fn end(
    ambient: &Ambient,
    stores: &Stores,
    tenant: &Tenant,
    id: &MessageId,
) -> Result<bool, StoreError> {
    match control::cancel(ambient, stores, tenant, id).await {
        Ok(_) => Ok(true),
        Err(control::ControlError::Store(error)) => Err(error),
        // It is gone, or others write it: its job finds the recall.
        Err(_) => Ok(false),
    }
}

/// Everything that a recall could be about has come to its end by then.
async fn forget_old(
    ambient: &Ambient,
    stores: &Stores,
    hold: &Hold,
    cancelled: usize,
) -> Result<usize, StoreError> {
    if ambient.now().since(hold.until) > ambient.policy.get().retention.ledger {
        stores.controls.remove_hold(&hold.id).await?;
    }
    Ok(cancelled)
}
