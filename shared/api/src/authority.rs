//! Who may do what: keys belong to a tenant and carry scopes.

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use posthaste_mail::Tenant;

use crate::problem::Problem;

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Submitting.
    Send,
    /// Looking.
    Read,
    /// Changing what was submitted, and the suppression list.
    Admin,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose mail it is about.
    pub tenant: Tenant,
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
}

/// A machine that only answers itself: any key or none is the tenant `default`, who may do everything.
#[derive(Debug, Clone, Copy)]
pub struct OpenOnLoopback;

#[async_trait]
impl Authority for OpenOnLoopback {
    async fn identify(&self, _key: Option<&str>) -> Result<Caller, Denied> {
        Ok(Caller { tenant: Tenant::default_tenant(), scopes: vec![Scope::Send, Scope::Read, Scope::Admin] })
    }
}

impl Caller {
    /// The caller of a request with these headers.
    pub(crate) async fn of(authority: &dyn Authority, headers: &HeaderMap) -> Result<Self, Problem> {
        let key = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        authority.identify(key).await.map_err(|denied| match denied {
            Denied::NoKey | Denied::Unknown => Problem::new(StatusCode::UNAUTHORIZED, denied.to_string()),
            Denied::Unavailable => Problem::unavailable(denied.to_string()),
        })
    }

    /// Refuses who may not.
    pub(crate) fn need(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(Problem::new(StatusCode::FORBIDDEN, format!("the key lacks the scope `{}`", scope.as_str())))
    }
}

impl Scope {
    /// The name as in commands and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// RFC 6750 2.1; the scheme's case does not matter.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| key.trim())
}
