//! Whether a tenant may send as it says, and the signatures that show it. Asked after a message is built, since what counts
//! is what its readers will see.

use std::sync::Arc;

use futures::future::join_all;
use posthaste_auth::align::signs_for;
use posthaste_mail::message::speaks_for;
use posthaste_mail::{Domain, ReversePath, Tenant};
use posthaste_policy::Policy;

use super::refusal::{FieldError, Refusal};
use crate::ambient::Ambient;
use crate::identity::{Claim, Proved, signed};
use crate::meter::Happened;
use crate::row::{Realm, Row, Told};
use crate::stores::{Acceptance, StoreError, Stores};

/// How a message's author stands.
struct Standing {
    /// The identity that its From is of.
    own: Option<Arc<Proved>>,
    /// Whether its envelope's sender is told of what is not delivered.
    notices: Told,
}

/// Lets through what may be sent, signed where there is a key.
pub(super) async fn all(
    ambient: &Ambient,
    stores: &Stores,
    tenant: &Tenant,
    built: Vec<Result<Acceptance, Refusal>>,
) -> Vec<Result<Acceptance, Refusal>> {
    let policy = ambient.policy.get();
    let asked = built.into_iter().map(|one| async {
        let one = one?;
        let claim = authorise(ambient, stores, &policy, tenant, &one).await?;
        Ok((one, claim))
    });
    let allowed: Vec<Result<(Acceptance, Standing), Refusal>> = join_all(asked).await;
    let signs = |one: &Result<(Acceptance, Standing), Refusal>| {
        let own = one.as_ref().ok().and_then(|(_, standing)| standing.own.as_ref());
        own.is_some_and(|own| !own.signers.is_empty())
    };
    let (count, any) = (allowed.len(), allowed.iter().any(signs));
    let sign_all = move || allowed.into_iter().map(|one| one.and_then(sign)).collect::<Vec<_>>();
    if !any {
        return sign_all();
    }
    // An RSA signature is a millisecond of work, and a batch has hundreds.
    let done = tokio::task::spawn_blocking(sign_all).await;
    done.unwrap_or_else(|_| vec![Err(Refusal::Unavailable); count])
}

fn sign((one, Standing { own: proved, notices }): (Acceptance, Standing)) -> Result<Acceptance, Refusal> {
    let message = signed(one.message, proved.as_deref()).map_err(|error| {
        tracing::error!(%error, "a message could not be signed");
        Refusal::Unavailable
    })?;
    let Row { facts, .. } = &one.row;
    let mut facts = facts.as_ref().clone();
    facts.size = message.len() as u64;
    facts.notices = notices;
    facts.bounces = proved.and_then(|proved| proved.return_path.clone());
    let row = Row { facts: Arc::new(facts), ..one.row };
    Ok(Acceptance { message, row, ..one })
}

/// What stands behind a message's From; refused where it speaks for somebody else, or for nobody and the policy minds.
async fn authorise(
    ambient: &Ambient,
    stores: &Stores,
    policy: &Policy,
    tenant: &Tenant,
    one: &Acceptance,
) -> Result<Standing, Refusal> {
    let named = speaks_for(&one.message)
        .ok_or_else(|| FieldError::new("from", "names more domains than any author has"))?;
    let envelope = match &one.row.facts.reverse_path {
        ReversePath::Address(address) => Some(("return_path", address.domain().clone())),
        ReversePath::Null => None,
    };
    let (mut own, mut notices) = (None, Told::Unwanted);
    for (field, domain) in named.into_iter().chain(envelope) {
        let claim = claim(ambient, stores, tenant, &domain).await?;
        if claim.taken.is_some() {
            return Err(Refusal::Forbidden(format!("{field}: {domain} is another tenant's")));
        }
        if field == "return_path" {
            // Only to whom this tenant answers for: a notice to anybody else is unwanted mail of ours.
            notices = claim.own.as_ref().map_or(Told::Unwanted, |own| own.notices);
        }
        if field == "From" && one.row.facts.sender.as_ref() == Some(&domain) {
            own = claim.own;
        }
    }
    let Some(from) = &one.row.facts.sender else { return Ok(Standing { own, notices }) };
    // What stays in the sandbox harms nobody's name.
    if one.row.facts.realm == Realm::Sandbox {
        return Ok(Standing { own, notices });
    }
    if policy.auth.require_identity.unwrap_or(true) && own.is_none() {
        return Err(Refusal::Forbidden(format!(
            "from: {from} is not registered and proved, and the policy demands it (`auth.require_identity`): \
             `posthaste identity add {from}` says which records to publish"
        )));
    }
    if policy.auth.require_alignment.unwrap_or(true) {
        aligned(from, own.as_deref())?;
    }
    Ok(Standing { own, notices })
}

/// Whether receivers will find a signature that is aligned with From (RFC 9989 4.9.1). SPF alone is not enough for us: it
/// breaks when mail is forwarded.
fn aligned(from: &Domain, own: Option<&Proved>) -> Result<(), Refusal> {
    let detail = match own {
        None => format!("no key signs for {from}: `posthaste identity add {from}`"),
        Some(own) if own.signers.is_empty() => {
            format!(
                "no key of {} is in use: publish one, then `posthaste identity verify {}`",
                own.domain, own.domain
            )
        }
        Some(own) if !signs_for(from, &own.domain, own.alignment) => format!(
            "{} signs, and its policy asks for the very domain (adkim=s): `posthaste identity add {from}`, or publish adkim=r",
            own.domain
        ),
        Some(_) => return Ok(()),
    };
    let detail = format!("DMARC could not pass: {detail}");
    Err(FieldError::new("from", detail).into())
}

async fn claim(
    ambient: &Ambient,
    stores: &Stores,
    tenant: &Tenant,
    domain: &Domain,
) -> Result<Claim, Refusal> {
    stores.signers.claim(stores, tenant, domain, ambient.now()).await.map_err(|error: StoreError| {
        tracing::error!(%error, "submissions were not accepted: sender domains could not be looked up");
        ambient.note(Happened::StoreFailed);
        Refusal::Unavailable
    })
}
