//! Who may do what: keys belong to a tenant and carry scopes; an operator's belong to none.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use posthaste_mail::{KeyId, Tenant};
use posthaste_pipeline::access::{KeyRecord, Keyring, Scope};
use posthaste_pipeline::ambient::Clock;
use posthaste_pipeline::stores::Directory;

use crate::problem::Problem;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose mail it is about; none: an operator, who has none.
    pub tenant: Option<Tenant>,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

/// Why a key is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// None was given.
    #[error("a key is needed: `Authorization: Bearer …`")]
    NoKey,
    /// It is unknown or revoked.
    #[error("the key is not known")]
    Unknown,
    /// It could not be looked up.
    #[error("keys cannot be looked up now")]
    Unavailable,
}

/// Knows keys.
#[async_trait]
pub trait Authority: Send + Sync {
    /// Who holds this key; none: a request without one.
    async fn identify(&self, key: Option<&str>) -> Result<Caller, Denied>;

    /// A key was revoked here: what is remembered of it is forgotten at once.
    fn forget(&self, _id: &KeyId) {}
}

/// A machine that only answers itself: any key or none is the tenant `default`, who may do everything.
#[derive(Debug, Clone, Copy)]
pub struct OpenOnLoopback;

#[async_trait]
impl Authority for OpenOnLoopback {
    async fn identify(&self, _key: Option<&str>) -> Result<Caller, Denied> {
        Ok(Caller { tenant: Some(Tenant::default_tenant()), scopes: Scope::ALL.to_vec() })
    }
}

/// Everywhere else: whoever asks shows a key that the directory knows.
pub struct KeysNeeded {
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    ring: Keyring,
}

impl KeysNeeded {
    /// The keys of this directory.
    pub fn new(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>) -> Self {
        Self { directory, clock, ring: Keyring::default() }
    }
}

#[async_trait]
impl Authority for KeysNeeded {
    async fn identify(&self, key: Option<&str>) -> Result<Caller, Denied> {
        let shown = key.ok_or(Denied::NoKey)?;
        match self.ring.check(&*self.directory, shown, self.clock.now()).await {
            Ok(Some(KeyRecord { tenant, scopes, .. })) => Ok(Caller { tenant, scopes }),
            Ok(None) => Err(Denied::Unknown),
            Err(error) => {
                tracing::error!(%error, "a request was not answered: its key cannot be looked up");
                Err(Denied::Unavailable)
            }
        }
    }

    fn forget(&self, id: &KeyId) {
        self.ring.forget(id);
    }
}

impl Caller {
    /// The caller of a request with these headers.
    pub(crate) async fn of(authority: &dyn Authority, headers: &HeaderMap) -> Result<Self, Problem> {
        let key = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        authority.identify(key).await.map_err(|denied| match denied {
            Denied::NoKey | Denied::Unknown => Problem::unauthorized(denied.to_string()),
            Denied::Unavailable => Problem::unavailable(denied.to_string()),
        })
    }

    /// Whether it may.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Refuses who may not.
    pub(crate) fn need(&self, scope: Scope) -> Result<(), Problem> {
        if self.may(scope) {
            return Ok(());
        }
        Err(Problem::new(StatusCode::FORBIDDEN, format!("the key lacks the scope `{}`", scope.as_str())))
    }

    /// Refuses who may not, and who has no mail that it could be about.
    pub(crate) fn need_tenant(&self, scope: Scope) -> Result<&Tenant, Problem> {
        self.need(scope)?;
        let none = || Problem::new(StatusCode::FORBIDDEN, "the key belongs to no tenant");
        self.tenant.as_ref().ok_or_else(none)
    }
}

/// RFC 6750 2.1; the scheme's case does not matter.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| key.trim())
}
