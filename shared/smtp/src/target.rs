//! Whom to connect to, how, and how long to wait for it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One address of one MX host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The MX host's name: for SNI, the certificate and reports. Without a trailing dot.
    pub host: String,
    /// The address that was checked; the connection goes nowhere else.
    pub addr: SocketAddr,
}

/// What TLS must prove before mail goes over it, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// STARTTLS is not used.
    Never,
    /// STARTTLS where offered, any certificate; in clear otherwise (RFC 7435).
    #[default]
    Opportunistic,
    /// STARTTLS or no mail, any certificate.
    Encrypt,
    /// STARTTLS with a certificate that WebPKI and the MX name vouch for, or no mail.
    Verify,
}

/// For a smarthost; sent only over verified TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The authentication identity.
    pub username: String,
    /// Never shown by `Debug`.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How the dialogue is to be held.
#[derive(Debug, Clone)]
pub struct Session {
    /// The argument of EHLO and HELO: our host name (RFC 5321 4.1.1.1).
    pub ehlo_name: String,
    /// What TLS must prove.
    pub tls: TlsMode,
    /// AUTH PLAIN or LOGIN after TLS; `None` for MX hosts.
    pub auth: Option<Credentials>,
    /// What is remembered of this host.
    pub habits: Habits,
}

/// What was learned about a host and is worth remembering for the next connection to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Habits {
    /// How much of what it offers it can bear.
    pub manner: Manner,
    /// Whether its STARTTLS is worth trying; heeded only where TLS is opportunistic.
    pub starttls: StartTls,
    /// Which greeting it understands.
    pub hello: Hello,
}

/// How much of what a peer offers is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manner {
    /// Everything offered.
    #[default]
    Full,
    /// One command at a time, no optional parameters.
    Plain,
}

/// Whether to try STARTTLS where it is optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartTls {
    /// Try it.
    #[default]
    Try,
    /// Its handshake failed before: on in clear.
    Skip,
}

/// The greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hello {
    /// EHLO, and HELO if that is unknown.
    #[default]
    Ehlo,
    /// HELO at once: the host closes on EHLO.
    Helo,
}

/// How long to wait for what. The default is RFC 5321 4.5.3.2; the deadline given with each call bounds them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connect: 30 s, as other MTAs wait; the RFC names none.
    pub connect: Duration,
    /// The banner: 5 min (4.5.3.2.1).
    pub banner: Duration,
    /// EHLO, HELO and AUTH: 5 min, as the RFC's other commands.
    pub ehlo: Duration,
    /// STARTTLS's reply, and again the handshake: 2 min.
    pub tls: Duration,
    /// MAIL: 5 min (4.5.3.2.2).
    pub mail: Duration,
    /// Each RCPT: 5 min (4.5.3.2.3).
    pub rcpt: Duration,
    /// DATA up to its 354: 2 min (4.5.3.2.4).
    pub data: Duration,
    /// No octet of the body could be written: 3 min (4.5.3.2.5).
    pub block: Duration,
    /// Reply to the final dot: 10 min (4.5.3.2.6); a shorter wait makes duplicates.
    pub dot: Duration,
    /// DATA is begun, and the dot sent, only if the deadline leaves at least this for the final reply. 10 min, the
    /// whole wait; a caller that accepts duplicates from slow peers may set less.
    pub dot_least: Duration,
    /// For QUIT to leave; its reply is not waited for. 2 s: a peer that cannot take six octets has lost nothing.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            connect: Duration::from_secs(30),
            banner: minutes(5),
            ehlo: minutes(5),
            tls: minutes(2),
            mail: minutes(5),
            rcpt: minutes(5),
            data: minutes(2),
            block: minutes(3),
            dot: minutes(10),
            dot_least: minutes(10),
            quit: Duration::from_secs(2),
        }
    }
}
