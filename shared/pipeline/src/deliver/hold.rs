//! Which hold a row is under. Pure but for reading the list.

use crate::row::Row;
use crate::stores::{Hold, HoldAction, HoldOn};

/// The hold that a row is under, on its way to a site if it is: of several a recall first.
pub fn holding<'a>(holds: &'a [Hold], row: &Row, site: Option<&str>) -> Option<&'a Hold> {
    let is_at = |hold: &Hold| matches!(&hold.what, HoldOn::Site(held) if site == Some(held.as_str()));
    let mut there = holds
        .iter()
        .filter(|hold| hold.released.is_none() && (matches(hold, row) || (is_at(hold) && covers(hold, row))));
    let first = there.next()?;
    let recall = |hold: &&Hold| hold.action == HoldAction::Cancel;
    Some(Some(first).filter(recall).or_else(|| there.find(recall)).unwrap_or(first))
}

/// Whether a hold is about a row.
pub fn matches(hold: &Hold, row: &Row) -> bool {
    if !covers(hold, row) {
        return false;
    }
    match &hold.what {
        HoldOn::Message(id) => *id == row.key.message,
        HoldOn::Tag(tag) => tag
            .split_once(':')
            .is_some_and(|(name, value)| row.facts.tags.get(name).is_some_and(|v| v == value)),
        HoldOn::Lane(lane) => *lane == row.facts.lane,
        HoldOn::Domain(domain) => row.domain.as_ref() == Some(domain),
        HoldOn::Site(site) => row.site.as_ref() == Some(site),
    }
}

/// Whether a hold is about mail of this tenant, and this old.
fn covers(hold: &Hold, row: &Row) -> bool {
    row.facts.accepted_at <= hold.until && hold.tenant.as_ref().is_none_or(|tenant| *tenant == row.tenant)
}
