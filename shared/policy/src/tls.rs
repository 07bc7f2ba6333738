//! How much TLS a hop must have. RFC 8461 and RFC 7672 may ask for more than these; nothing asks for less.

use crate::names::named;

named! {
    /// What is demanded of the connection, from least to most; `max` of two demands is the one to meet.
    TlsMode {
        /// STARTTLS is not used.
        Never = "never",
        /// Used where offered, with any certificate; in clear where it is not.
        Opportunistic = "opportunistic",
        /// Not without TLS, but any certificate will do.
        Encrypt = "encrypt",
        /// Not without TLS and a certificate of the MX host's name from a known root (WebPKI).
        Verify = "verify",
    }
}

impl TlsMode {
    /// Whether mail may go in clear when TLS cannot be had.
    pub fn allows_clear(self) -> bool {
        matches!(self, Self::Never | Self::Opportunistic)
    }

    /// The more demanding of the two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.max(other)
    }
}
