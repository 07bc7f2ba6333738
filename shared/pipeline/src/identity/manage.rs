//! Registering domains, proving them, giving them up.

use posthaste_auth::align::{self, Mode};
use posthaste_auth::audit::{Egress, Expected, Subject, has_key};
use posthaste_auth::dns::{CheckSpf, Spf};
use posthaste_auth::record::{Record, Wanted, dkim_name};
use posthaste_auth::resolver::Asked;
use posthaste_auth::{Algorithm, Answer, Dns, KeyError, PrivateKey};
use posthaste_mail::{Domain, Tenant, Timestamp};
use posthaste_policy::Policy;
use posthaste_route::NoNameServers;

use super::rotation::{advance, rotated};
use super::{DkimKey, Identity, KEYS_MAX, KeyState, SELECTOR_MAX};
use crate::ambient::Ambient;
use crate::row::Told;
use crate::stores::{StoreError, Stores};

/// Tries to write an identity that others write too.
const CONTENTION_MAX: usize = 5;

/// What a caller asks for.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Its own domain of MAIL FROM; the outer none: as it is.
    pub return_path: Option<Option<Domain>>,
    /// Whether mail from below it is signed; none: as it is.
    pub subdomains: Option<bool>,
    /// Whether envelope senders at it are told of what is not delivered; none: as it is.
    pub notices: Option<Told>,
    /// Whether it gets an Ed25519 key beside the RSA one.
    pub ed25519: bool,
    /// Keys to import; empty: some are made, if there are none.
    pub keys: Vec<NewKey>,
}

/// A key to import.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Where it is published.
    pub selector: String,
    /// The private key in PEM.
    pub pem: String,
}

/// Why an identity is not as it was asked to be.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none.
    #[error("{0} is not registered: `posthaste identity add {0}`")]
    NotFound(Domain),
    /// A field is wrong.
    #[error("{field}: {detail}")]
    Field {
        /// Which.
        field: String,
        /// What is wrong.
        detail: String,
    },
    /// Another tenant has proved it, and his key is still there.
    #[error("{0} has been proved by another tenant, whose key is still published")]
    Taken(Domain),
    /// Others keep writing it.
    #[error("the identity is being changed: ask again")]
    Busy,
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn wrong(field: impl Into<String>, detail: impl Into<String>) -> IdentityError {
    IdentityError::Field { field: field.into(), detail: detail.into() }
}

/// Registers a domain, or changes what is registered. With `rotate` new keys are made beside those in use.
pub async fn register(
    ambient: &Ambient,
    stores: &Stores,
    tenant: &Tenant,
    domain: &Domain,
    asked: &Registration,
    rotate: bool,
) -> Result<Identity, IdentityError> {
    for _ in 0..CONTENTION_MAX {
        let now = ambient.now();
        let known = stores.identities.get(tenant, domain).await?;
        let mut identity = match known {
            Some(known) => known,
            None if rotate => return Err(IdentityError::NotFound(domain.clone())),
            None => Identity {
                tenant: tenant.clone(),
                domain: domain.clone(),
                version: 0,
                created_at: now,
                verified_at: None,
                subdomains: false,
                return_path: None,
                notices: Told::Unwanted,
                alignment: Mode::Relaxed,
                spf: None,
                keys: Vec::new(),
            },
        };
        if let Some(return_path) = asked.return_path.as_ref().filter(|wish| **wish != identity.return_path) {
            identity.return_path.clone_from(return_path);
            // What was seen of the one before says nothing of this one.
            identity.spf = None;
        }
        identity.subdomains = asked.subdomains.unwrap_or(identity.subdomains);
        identity.notices = asked.notices.unwrap_or(identity.notices);
        let keys = keys(stores, &identity, asked, rotate, now).await?;
        if !keys.is_empty() {
            identity = if rotate || !asked.keys.is_empty() {
                rotated(&identity, keys)
            } else {
                let mut with = identity;
                with.keys.extend(keys);
                with
            };
        }
        if identity.keys.len() > KEYS_MAX {
            return Err(wrong("keys", format!("at most {KEYS_MAX} are kept: wait until old ones are gone")));
        }
        identity.version += 1;
        if stores.identities.put(&identity).await? {
            stores.signers.forget();
            return Ok(identity);
        }
    }
    Err(IdentityError::Busy)
}

/// The keys that are asked for and not there.
async fn keys(
    stores: &Stores,
    identity: &Identity,
    asked: &Registration,
    rotate: bool,
    now: Timestamp,
) -> Result<Vec<DkimKey>, IdentityError> {
    let mut keys: Vec<DkimKey> = Vec::new();
    for (n, new) in asked.keys.iter().enumerate() {
        let at = |field: &str| format!("keys[{n}].{field}");
        check_selector(&new.selector).map_err(|detail| wrong(at("selector"), detail))?;
        if keys.iter().chain(&identity.keys).any(|key| key.selector == new.selector) {
            return Err(wrong(at("selector"), "there is a key at this selector: take another"));
        }
        let private =
            PrivateKey::from_pem(&new.pem).map_err(|error| wrong(at("private_key"), error.to_string()))?;
        keys.push(sealed(stores, identity, new.selector.clone(), &private, now).await?);
    }
    if !asked.keys.is_empty() {
        return Ok(keys);
    }
    let has = |algorithm| identity.keys.iter().any(|key| key.public.algorithm == algorithm);
    let wanted = [(Algorithm::Rsa, true), (Algorithm::Ed25519, asked.ed25519)];
    for (algorithm, asked) in wanted {
        let makes = if rotate { has(algorithm) || asked } else { asked && !has(algorithm) };
        if !makes {
            continue;
        }
        let made = tokio::task::spawn_blocking(move || PrivateKey::make(algorithm)).await;
        let private = made.map_err(|_| KeyError::Unmade)??;
        let selector = free_selector(identity, algorithm, now);
        keys.push(sealed(stores, identity, selector, &private, now).await?);
    }
    Ok(keys)
}

async fn sealed(
    stores: &Stores,
    identity: &Identity,
    selector: String,
    private: &PrivateKey,
    now: Timestamp,
) -> Result<DkimKey, IdentityError> {
    let sealed = stores.sealer.seal(&identity.purpose(&selector), private.pkcs8()).await?;
    Ok(DkimKey { selector, public: private.public().clone(), sealed, state: KeyState::Pending, since: now })
}

/// `ph20261126a`: dated, so that people see how old a key is; `e` after it for Ed25519.
fn free_selector(identity: &Identity, algorithm: Algorithm, now: Timestamp) -> String {
    let day: String = now.rfc3339().chars().take(10).filter(char::is_ascii_digit).collect();
    let kind = match algorithm {
        Algorithm::Rsa => "",
        Algorithm::Ed25519 => "e",
    };
    let names = ('a'..='z').map(|letter| format!("ph{day}{letter}{kind}"));
    let is_free = |name: &String| identity.keys.iter().all(|key| key.selector != *name);
    // There are fewer keys than letters.
    names.into_iter().find(is_free).unwrap_or_else(|| format!("ph{day}{kind}"))
}

fn check_selector(text: &str) -> Result<(), String> {
    let plain = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.len() <= SELECTOR_MAX && text.split('.').all(plain) {
        Ok(())
    } else {
        Err(format!("1 to {SELECTOR_MAX} letters, digits and `-`"))
    }
}

/// What a look into DNS came to.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The identity as it is now.
    pub identity: Identity,
    /// Selectors whose key is not there, and why.
    pub missing: Vec<(String, String)>,
}

/// Looks whether the keys are published, and takes those into use that are.
pub async fn verify<D: Dns + CheckSpf>(
    ambient: &Ambient,
    stores: &Stores,
    dns: &D,
    tenant: &Tenant,
    domain: &Domain,
) -> Result<Verified, IdentityError> {
    for _ in 0..CONTENTION_MAX {
        let known = stores.identities.get(tenant, domain).await?;
        let known = known.ok_or_else(|| IdentityError::NotFound(domain.clone()))?;
        let (seen, missing) = published(dns, &known).await;
        let policy = ambient.policy.get();
        let longest = [posthaste_mail::Lane::Transactional, posthaste_mail::Lane::Bulk]
            .map(|lane| policy.retry(lane).expire_after)
            .into_iter()
            .max()
            .unwrap_or_default();
        let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
        let mut next = advance(&known, &seen, longest, ambient.now());
        if next.verified_at.is_some() {
            if !seen.is_empty() {
                claim(stores, dns, tenant, domain).await?;
            }
            let walk = align::walk(dns, &domain.to_string()).await;
            if walk.failed.is_none() {
                let record = walk.policy(&domain.to_string()).map(|(_, record)| record);
                next.alignment = record.map_or(Mode::Relaxed, |record| record.dkim);
                let mode = record.map_or(Mode::Relaxed, |record| record.spf);
                if let Some(spf) = envelope(dns, &policy, &known, mode, &walk.organizational).await {
                    next.spf = spf;
                }
            }
        }
        if next == known {
            return Ok(Verified { identity: known, missing });
        }
        next.version += 1;
        if stores.identities.put(&next).await? {
            stores.signers.forget();
            return Ok(Verified { identity: next, missing });
        }
    }
    Err(IdentityError::Busy)
}

/// How SPF of an identity's envelope is aligned; the outer none: nobody could say now.
async fn envelope<D: Dns + CheckSpf>(
    dns: &D,
    policy: &Policy,
    identity: &Identity,
    mode: Mode,
    organization: &str,
) -> Option<Option<Mode>> {
    let mut egress = Vec::new();
    let subject = audit_subject(policy, &identity.domain, Some(identity), &mut egress);
    let Some(envelope) = subject.return_path.map(ToString::to_string) else { return Some(None) };
    if subject.egress.is_empty() {
        return Some(None);
    }
    for Egress { ip, hostname } in subject.egress {
        match dns.spf(*ip, &envelope, hostname).await {
            Spf::Pass => {}
            Spf::TempError => return None,
            _ => return Some(None),
        }
    }
    if mode == Mode::Strict {
        return Some(Some(Mode::Strict));
    }
    let walk = align::walk(dns, &envelope).await;
    if walk.failed.is_some() {
        return None;
    }
    Some(walk.organizational.eq_ignore_ascii_case(organization).then_some(Mode::Relaxed))
}

/// Selectors with our key, and the others with the reason.
async fn published(dns: &dyn Dns, identity: &Identity) -> (Vec<String>, Vec<(String, String)>) {
    let (mut seen, mut missing) = (Vec::new(), Vec::new());
    for key in &identity.keys {
        let name = dkim_name(&key.selector, &identity.domain);
        let why = match dns.txt(&name).await {
            Answer::Found(texts) if texts.iter().any(|text| has_key(text, &key.public)) => {
                seen.push(key.selector.clone());
                continue;
            }
            Answer::Found(_) => format!("{name} has another record"),
            Answer::NoData | Answer::NoName => format!("{name} has no TXT record"),
            Answer::Failed(why) => format!("{name} could not be looked up: {why}"),
        };
        missing.push((key.selector.clone(), why));
    }
    (seen, missing)
}

/// Takes a domain that the tenant has proved, unless another has it whose key is still there: then the zone's owner has
/// let both in, and the first one keeps it.
async fn claim(
    stores: &Stores,
    dns: &dyn Dns,
    tenant: &Tenant,
    domain: &Domain,
) -> Result<(), IdentityError> {
    for _ in 0..CONTENTION_MAX {
        let owner = stores.identities.owners(std::slice::from_ref(domain)).await?.pop().flatten();
        if owner.as_ref() == Some(tenant) {
            return Ok(());
        }
        if let Some(other) = &owner
            && let Some(theirs) = stores.identities.get(other, domain).await?
            && !published(dns, &theirs).await.0.is_empty()
        {
            return Err(IdentityError::Taken(domain.clone()));
        }
        if stores.identities.claim(domain, tenant, owner.as_ref()).await? {
            return Ok(());
        }
    }
    Err(IdentityError::Busy)
}

/// Asks the name servers of a policy; with a cache, since audits ask for the same names again and again.
pub fn name_servers(policy: &Policy) -> Result<Asked, NoNameServers> {
    /// Answers kept: those of some hundred audits.
    const CACHED: u64 = 4_096;
    let config = posthaste_route::Config {
        servers: policy.dns.servers.clone(),
        timeout: policy.dns.timeout,
        ..posthaste_route::Config::default()
    };
    Ok(Asked::new(posthaste_route::name_servers(&config, CACHED)?))
}

/// Gives a domain up.
pub async fn remove(stores: &Stores, tenant: &Tenant, domain: &Domain) -> Result<(), IdentityError> {
    let was_there = stores.identities.remove(tenant, domain).await?;
    stores.signers.forget();
    if was_there { Ok(()) } else { Err(IdentityError::NotFound(domain.clone())) }
}

/// What its owner publishes.
pub fn records(policy: &Policy, identity: &Identity) -> Vec<Record> {
    let return_path = identity.return_path.as_ref().or(policy.mta.return_path_domain.as_ref());
    let keys = identity.keys.iter().map(|key| (key.selector.as_str(), &key.public)).collect();
    let egress = policy.egress.iter().flat_map(|egress| egress.public_ip.clone()).collect();
    Wanted { domain: &identity.domain, keys, return_path, egress }.records()
}

/// What of it is audited: its own keys, and our addresses as the policy has them.
pub fn audit_subject<'a>(
    policy: &'a Policy,
    domain: &'a Domain,
    identity: Option<&'a Identity>,
    egress: &'a mut Vec<Egress>,
) -> Subject<'a> {
    for one in &policy.egress {
        let hostname = policy.hostname(&one.name).to_string();
        egress.extend(one.public_ip.iter().map(|ip| Egress { ip: *ip, hostname: hostname.clone() }));
    }
    let used = |key: &&DkimKey| key.state != KeyState::Retiring;
    let selectors = identity.into_iter().flat_map(|identity| {
        identity.keys.iter().filter(used).map(|key| {
            let in_use = identity.active().any(|active| active.public.algorithm == key.public.algorithm);
            let expected = match key.state == KeyState::Pending && in_use {
                true => Expected::Next(key.public.clone()),
                false => Expected::Ours(key.public.clone()),
            };
            (key.selector.clone(), expected)
        })
    });
    let own = identity.and_then(|identity| identity.return_path.as_ref());
    Subject {
        domain,
        selectors: selectors.collect(),
        return_path: own.or(policy.mta.return_path_domain.as_ref()),
        egress,
    }
}
