//! Whether a tenant may send as it says, and the signatures that show it. Asked after a message is built, since what counts
//! is what its readers will see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::try_join_all;
use posthaste_auth::align::{Mode, signs_for};
use posthaste_mail::message::speaks_for;
use posthaste_mail::{Domain, ReversePath, Tenant};
use posthaste_policy::Policy;

use super::refusal::{FieldError, Refusal};
use crate::ambient::Ambient;
use crate::identity::{Claim, Proved, signed};
use crate::meter::Happened;
use crate::row::{Realm, Row, Told};
use crate::stores::{Acceptance, StoreError, Stores};

/// The envelope's sender, among the fields that are looked at.
const RETURN_PATH: &str = "return_path";

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
    let named: Vec<Result<(Acceptance, Vec<Named>), Refusal>> = built
        .into_iter()
        .map(|one| one.and_then(|one| Ok((named(&one)?, one))).map(|(n, one)| (one, n)))
        .collect();
    // A batch speaks for few domains: each is asked for once.
    let domains: BTreeSet<Domain> =
        named.iter().flatten().flat_map(|(_, named)| named).map(|(_, domain)| domain.clone()).collect();
    let count = named.len();
    let Some(claims) = claims(ambient, stores, tenant, domains).await else {
        return named.into_iter().map(|one| one.and(Err(Refusal::Unavailable))).collect();
    };
    let allowed: Vec<Result<(Acceptance, Standing), Refusal>> = named
        .into_iter()
        .map(|one| one.and_then(|(one, named)| Ok((authorise(&policy, &claims, &one, &named)?, one))))
        .map(|one| one.map(|(standing, one)| (one, standing)))
        .collect();
    let signs = |one: &Result<(Acceptance, Standing), Refusal>| {
        let own = one.as_ref().ok().and_then(|(_, standing)| standing.own.as_ref());
        own.is_some_and(|own| !own.signers.is_empty())
    };
    let any = allowed.iter().any(signs);
    let sign_all = move || allowed.into_iter().map(|one| one.and_then(sign)).collect::<Vec<_>>();
    if !any {
        return sign_all();
    }
    // An RSA signature is a millisecond of work, and a batch has hundreds.
    let done = tokio::task::spawn_blocking(sign_all).await;
    done.unwrap_or_else(|_| vec![Err(Refusal::Unavailable); count])
}

/// A domain that a message speaks for, and where.
type Named = (&'static str, Domain);

/// Every domain that a message speaks for.
fn named(one: &Acceptance) -> Result<Vec<Named>, Refusal> {
    let mut named = speaks_for(&one.message)
        .ok_or_else(|| FieldError::new("from", "names more domains than any author has"))?;
    if let ReversePath::Address(address) = &one.row.facts.reverse_path {
        named.push((RETURN_PATH, address.domain().clone()));
    }
    Ok(named)
}

/// What stands behind each domain; none while that cannot be known.
async fn claims(
    ambient: &Ambient,
    stores: &Stores,
    tenant: &Tenant,
    domains: BTreeSet<Domain>,
) -> Option<BTreeMap<Domain, Claim>> {
    let now = ambient.now();
    let asked = domains.into_iter().map(|domain| async {
        let claim = stores.signers.claim(stores, tenant, &domain, now).await?;
        Ok::<_, StoreError>((domain, claim))
    });
    match try_join_all(asked).await {
        Ok(claims) => Some(claims.into_iter().collect()),
        Err(error) => {
            tracing::error!(%error, "submissions were not accepted: sender domains could not be looked up");
            ambient.note(Happened::StoreFailed);
            None
        }
    }
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

/// How a message's author stands; refused where it speaks for somebody else, or for nobody and the policy minds.
fn authorise(
    policy: &Policy,
    claims: &BTreeMap<Domain, Claim>,
    one: &Acceptance,
    named: &[Named],
) -> Result<Standing, Refusal> {
    let (mut own, mut notices) = (None, Told::Unwanted);
    for (field, domain) in named {
        let Some(claim) = claims.get(domain) else { return Err(Refusal::Unavailable) };
        if claim.taken.is_some() {
            return Err(Refusal::Forbidden(format!("{field}: {domain} is another tenant's")));
        }
        if *field == RETURN_PATH {
            // Only to whom this tenant answers for: a notice to anybody else is unwanted mail of ours.
            notices = claim.own.as_ref().map_or(Told::Unwanted, |own| own.notices);
        }
        if one.row.facts.sender.as_ref() == Some(domain) {
            own.clone_from(&claim.own);
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
        aligned(policy, from, own.as_deref())?;
    }
    Ok(Standing { own, notices })
}

/// Whether receivers will find a signature or an envelope that is aligned with From (RFC 9989 4.9.1).
fn aligned(policy: &Policy, from: &Domain, own: Option<&Proved>) -> Result<(), Refusal> {
    let envelope = own.and_then(|own| own.return_path.as_ref()).or(policy.mta.return_path_domain.as_ref());
    let by_spf = match own.and_then(|own| own.spf) {
        None => false,
        // Its organization is that of the identity, which From is of.
        Some(Mode::Relaxed) => true,
        Some(Mode::Strict) => envelope == Some(from),
    };
    if by_spf {
        return Ok(());
    }
    let detail = match own {
        None => format!("no key signs for {from}: `posthaste identity add {from}`"),
        Some(own) if own.signers.is_empty() => {
            format!(
                "no key of {} is in use: publish one, then `posthaste identity verify {}`",
                own.domain, own.domain
            )
        }
        Some(own) if !signs_for(from, &own.domain, own.alignment) => format!(
            "{} signs, its policy asks for the very domain (adkim=s), and SPF of the return path is not aligned: `posthaste \
             identity add {from}`, or publish adkim=r",
            own.domain
        ),
        Some(_) => return Ok(()),
    };
    let detail = format!("DMARC could not pass: {detail}");
    Err(FieldError::new("from", detail).into())
}
