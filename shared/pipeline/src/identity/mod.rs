//! Sender domains of tenants: who may send as them, with which keys their mail is signed, where their bounces go.
//!
//! A domain is anybody's to register and nobody's until DNS has proved it: whoever publishes the key that was made for them
//! has its zone. Then nobody else may send as it, or as anything below it. A registration alone blocks nobody.

mod manage;
mod reported;
mod rotation;
mod signers;
mod watch;

use async_trait::async_trait;
use posthaste_auth::PublicKey;
use posthaste_auth::align::Mode;
use posthaste_mail::{Domain, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

use crate::row::Told;
use crate::stores::StoreError;

pub use manage::{
    IdentityError, NewKey, Registration, Verified, audit_subject, name_servers, records, register, remove,
    verify,
};
pub use reported::{
    Day, DomainReport, Overview, REPORTS_KEPT_FOR, Reported, SourceView, overview, take_report,
};
pub use rotation::{advance, rotated};
pub use signers::{Claim, Proved, Signers, signed};
pub use watch::{Round, Watched, Watches, round};

/// Keys of one identity: two algorithms, each with its next and some before it.
pub const KEYS_MAX: usize = 8;
/// Letters of a selector: one label of a name.
pub const SELECTOR_MAX: usize = 63;

/// A sender domain of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Whose.
    pub tenant: Tenant,
    /// The domain of From.
    pub domain: Domain,
    /// +1 with every write: the condition of every write.
    pub version: u64,
    /// Since when.
    pub created_at: Timestamp,
    /// When DNS proved it first; none: it has not, and nothing is signed.
    pub verified_at: Option<Timestamp>,
    /// Whether mail from below it is signed with its keys, too.
    #[serde(default)]
    pub subdomains: bool,
    /// Its own domain of MAIL FROM; none: the policy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_path: Option<Domain>,
    /// Whether envelope senders at it are told of what is not delivered.
    #[serde(default)]
    pub notices: Told,
    /// What its policy record asks of signatures, when it was last looked at.
    #[serde(default)]
    pub alignment: Mode,
    /// How its envelope's SPF is aligned, when it was last looked at, where our addresses passed; none: they did not, or it is
    /// another organization's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spf: Option<Mode>,
    /// Its keys, oldest first.
    pub keys: Vec<DkimKey>,
}

/// One key of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimKey {
    /// Where it is published.
    pub selector: String,
    /// What is published there.
    pub public: PublicKey,
    /// The private key, sealed.
    pub sealed: Vec<u8>,
    /// What it is used for.
    pub state: KeyState,
    /// Since when.
    pub since: Timestamp,
}

/// The states of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It is not in DNS yet: nothing is signed with it.
    Pending,
    /// Mail is signed with it.
    Active,
    /// Another has taken its place; it stays published while mail signed with it may still be on its way.
    Retiring,
}

impl Identity {
    /// Keys that mail is signed with.
    pub fn active(&self) -> impl Iterator<Item = &DkimKey> {
        self.keys.iter().filter(|key| key.state == KeyState::Active)
    }

    /// Whether it stands for mail of this domain.
    pub fn covers(&self, domain: &Domain) -> bool {
        *domain == self.domain || (self.subdomains && domain.is_under(self.domain.as_str()))
    }

    /// What a key of it is sealed for.
    pub fn purpose(&self, selector: &str) -> String {
        format!("dkim {} {} {selector}", self.tenant, self.domain)
    }
}

/// Keeps identities, and who has proved which domain.
#[async_trait]
pub trait Identities: Send + Sync {
    /// One, as it is now (consistent).
    async fn get(&self, tenant: &Tenant, domain: &Domain) -> Result<Option<Identity>, StoreError>;
    /// Writes one in the place of that whose version is one less (1: of none); false where that is not what is there.
    async fn put(&self, identity: &Identity) -> Result<bool, StoreError>;
    /// Removes one, and its claim to the domain; says whether it was there.
    async fn remove(&self, tenant: &Tenant, domain: &Domain) -> Result<bool, StoreError>;
    /// A page of a tenant's in the order of domains, after one.
    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<Identity>, StoreError>;
    /// Who has proved each of these domains, in order (consistent).
    async fn owners(&self, domains: &[Domain]) -> Result<Vec<Option<Tenant>>, StoreError>;
    /// Writes that a tenant has proved a domain, in the place of `before`; false where that is not who is there.
    async fn claim(
        &self,
        domain: &Domain,
        tenant: &Tenant,
        before: Option<&Tenant>,
    ) -> Result<bool, StoreError>;
}

/// Seals private keys. What is sealed for one purpose opens for no other.
#[async_trait]
pub trait Sealer: Send + Sync {
    /// Seals.
    async fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError>;
    /// Opens.
    async fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError>;
}
