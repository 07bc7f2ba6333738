//! Bulk mail offers to unsubscribe with one click: the large receivers ask for it (RFC 8058), and who finds no such button
//! takes the one that says spam.

use posthaste_mail::Lane;
use posthaste_mail::message::{UnsubscribeOffer, unsubscribe_offer};
use posthaste_policy::{OnMissing, Policy};

use super::Warning;
use super::refusal::{FieldError, Refusal};
use crate::row::Realm;
use crate::stores::Acceptance;

/// The field that is named: it holds for every form of mail.
const FIELD: &str = "headers.List-Unsubscribe";

/// A submission, and what is told of its offer; refused where the policy asks for one.
pub(super) fn weighed(
    policy: &Policy,
    one: Result<Acceptance, Refusal>,
) -> (Result<Acceptance, Refusal>, Option<Warning>) {
    match one.and_then(|one| Ok((offered(policy, &one)?, one))) {
        Ok((warning, one)) => (Ok(one), warning),
        Err(refusal) => (Err(refusal), None),
    }
}

fn offered(policy: &Policy, one: &Acceptance) -> Result<Option<Warning>, Refusal> {
    let demand = policy.bulk.list_unsubscribe;
    let facts = &one.row.facts;
    if demand == OnMissing::Ignore || facts.lane != Lane::Bulk {
        return Ok(None);
    }
    let what = match unsubscribe_offer(&one.message) {
        UnsubscribeOffer::OneClick => return Ok(None),
        UnsubscribeOffer::Other => "bulk mail offers no unsubscribing with one click (RFC 8058)",
        UnsubscribeOffer::Absent => "bulk mail has no List-Unsubscribe",
    };
    let detail = format!(
        "{what}: `\"unsubscribe\": true` writes both fields, or write List-Unsubscribe with an https address and \
         List-Unsubscribe-Post yourself"
    );
    // What stays in the sandbox bothers nobody; who tries it there is told all the same.
    if demand == OnMissing::Refuse && facts.realm == Realm::World {
        return Err(FieldError::new(FIELD, format!("{detail} (`bulk.list_unsubscribe`)")).into());
    }
    Ok(Some(Warning { field: FIELD, detail }))
}
