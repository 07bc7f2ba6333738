//! Who may send as a domain, and what its mail is signed with: asked for every message, so remembered for a moment.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use posthaste_auth::align::Mode;
use posthaste_auth::{PrivateKey, SignError, Signer};
use posthaste_mail::{Domain, Tenant, Timestamp};

use super::Identity;
use crate::row::Told;
use crate::stores::{StoreError, Stores};

/// What is known of a domain is asked again after this: a key that is revoked signs no longer than this.
const BELIEVED_FOR: Duration = Duration::from_secs(30);
/// Domains remembered.
const KNOWN_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);
/// Domains above one that are looked at: a name has no more labels that matter.
const PARENTS_MAX: usize = 8;

/// What stands behind a tenant's mail from a domain.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// Another tenant has proved it, or a domain above it.
    pub taken: Option<Domain>,
    /// The tenant's own identity that covers it, proved.
    pub own: Option<Arc<Proved>>,
}

/// An identity that has been proved, ready to sign.
#[derive(Debug)]
pub struct Proved {
    /// The domain it signs as.
    pub domain: Domain,
    /// Its own domain of MAIL FROM.
    pub return_path: Option<Domain>,
    /// Whether envelope senders at it are told of what is not delivered.
    pub notices: Told,
    /// What its policy record asks of signatures.
    pub alignment: Mode,
    /// How its envelope's SPF is aligned; none: it does not pass.
    pub spf: Option<Mode>,
    /// One signer a key in use.
    pub signers: Vec<Signer>,
}

/// Claims remembered; one for all who accept mail in a process.
pub struct Signers(Mutex<LruCache<(Tenant, Domain), (Timestamp, Claim)>>);

impl Default for Signers {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KNOWN_MAX)))
    }
}

impl Signers {
    /// What stands behind a tenant's mail from a domain now, or a moment ago.
    pub async fn claim(
        &self,
        stores: &Stores,
        tenant: &Tenant,
        domain: &Domain,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let key = (tenant.clone(), domain.clone());
        let known = {
            let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            claims.get(&key).filter(|(at, _)| *at <= now && now.since(*at) < BELIEVED_FOR).cloned()
        };
        if let Some((_, claim)) = known {
            return Ok(claim);
        }
        let claim = look_up(stores, tenant, domain).await?;
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.put(key, (now, claim.clone()));
        Ok(claim)
    }

    /// Something has changed here: it is looked up again.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A domain and those above it, but for the top.
fn upwards(domain: &Domain) -> Vec<Domain> {
    let labels: Vec<&str> = domain.as_str().split('.').collect();
    let count = labels.len().saturating_sub(1).clamp(1, PARENTS_MAX);
    (0..count).filter_map(|from| Domain::parse(&labels[from..].join(".")).ok()).collect()
}

async fn look_up(stores: &Stores, tenant: &Tenant, domain: &Domain) -> Result<Claim, StoreError> {
    let names = upwards(domain);
    let owners = stores.identities.owners(&names).await?;
    for (name, owner) in names.iter().zip(owners) {
        match owner {
            None => {}
            // The nearest proof decides: a tenant's own subdomain is its own, whoever has what is above it.
            Some(owner) if owner == *tenant => {
                let identity = stores.identities.get(tenant, name).await?;
                let identity = identity.filter(|identity| identity.verified_at.is_some());
                match identity {
                    Some(identity) if identity.covers(domain) => {
                        return Ok(Claim {
                            taken: None,
                            own: Some(Arc::new(prove(stores, &identity).await?)),
                        });
                    }
                    _ => return Ok(Claim::default()),
                }
            }
            Some(_) => return Ok(Claim { taken: Some(name.clone()), own: None }),
        }
    }
    Ok(Claim::default())
}

async fn prove(stores: &Stores, identity: &Identity) -> Result<Proved, StoreError> {
    let mut signers = Vec::new();
    for key in identity.active() {
        let opened = stores.sealer.open(&identity.purpose(&key.selector), &key.sealed).await?;
        let private = PrivateKey::from_pkcs8(opened)
            .map_err(|error| StoreError::Corrupt(format!("a key of {}: {error}", identity.domain)))?;
        let signer = Signer::new(&identity.domain, &key.selector, &private);
        signers.push(
            signer.map_err(|error| StoreError::Corrupt(format!("a key of {}: {error}", identity.domain)))?,
        );
    }
    Ok(Proved {
        domain: identity.domain.clone(),
        return_path: identity.return_path.clone(),
        notices: identity.notices,
        alignment: identity.alignment,
        spf: identity.spf,
        signers,
    })
}

/// A message with its signatures before it; as it was where there is nobody to sign.
pub fn signed(message: bytes::Bytes, proved: Option<&Proved>) -> Result<bytes::Bytes, SignError> {
    let Some(proved) = proved.filter(|proved| !proved.signers.is_empty()) else { return Ok(message) };
    let mut octets = Vec::with_capacity(message.len() + 1_024 * proved.signers.len());
    for signer in &proved.signers {
        octets.extend_from_slice(signer.sign(&message)?.as_bytes());
    }
    octets.extend_from_slice(&message);
    Ok(octets.into())
}
