//! Which hold a row is under. Pure but for reading the list.

use crate::row::Row;
use crate::stores::{Hold, HoldOn};

/// The first hold that matches a row.
pub fn holding<'a>(holds: &'a [Hold], row: &Row) -> Option<&'a str> {
    holds.iter().find(|hold| matches(hold, row)).map(|hold| hold.id.as_str())
}

fn matches(hold: &Hold, row: &Row) -> bool {
    if row.facts.accepted_at > hold.until || hold.tenant.as_ref().is_some_and(|tenant| *tenant != row.tenant)
    {
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
