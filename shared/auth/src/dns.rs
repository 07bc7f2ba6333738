//! Names, as audits ask for them.

use std::net::IpAddr;

use async_trait::async_trait;

/// What a look-up came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// These.
    Found(Vec<T>),
    /// The name is there and has none of this kind.
    NoData,
    /// There is no such name.
    NoName,
    /// Nobody could say: a time-out, SERVFAIL.
    Failed(String),
}

impl<T> Answer<T> {
    /// What was found; nothing where nothing was.
    pub fn found(&self) -> &[T] {
        match self {
            Self::Found(all) => all,
            _ => &[],
        }
    }
}

/// Looks names up; each with or without a dot at its end.
#[async_trait]
pub trait Dns: Send + Sync {
    /// TXT records, the strings of each put together.
    async fn txt(&self, name: &str) -> Answer<String>;
    /// Hosts of MX records with their preferences.
    async fn mx(&self, name: &str) -> Answer<(u16, String)>;
    /// Addresses, of both families.
    async fn addresses(&self, name: &str) -> Answer<IpAddr>;
    /// Names of an address (PTR).
    async fn names(&self, ip: IpAddr) -> Answer<String>;
}

/// What SPF (RFC 7208 2.6) makes of an address that sends for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spf {
    /// It may.
    Pass,
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// Nothing is said of it.
    Neutral,
    /// There is no record.
    None,
    /// Nobody could say now.
    TempError,
    /// The record cannot be read, or asks for too much.
    PermError,
}

impl Spf {
    /// As RFC 7208 names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::Neutral => "neutral",
            Self::None => "none",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// Evaluates SPF.
#[async_trait]
pub trait CheckSpf: Send + Sync {
    /// What a receiver makes of mail from `postmaster@domain` by this address.
    async fn spf(&self, ip: IpAddr, domain: &str, helo: &str) -> Spf;
}
