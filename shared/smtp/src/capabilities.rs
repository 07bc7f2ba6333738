//! What a peer offers, read from its reply to EHLO (RFC 5321 4.1.1.1).

/// What a peer offers. All absent after HELO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// SIZE (RFC 1870), if offered.
    pub size: Option<SizeLimit>,
    /// LIMITS (RFC 9422).
    pub limits: Limits,
    /// AUTH mechanisms (RFC 4954), upper case.
    pub auth: Vec<String>,
}

/// The argument of SIZE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeLimit {
    /// No number, or 0: the peer names no limit.
    Unstated,
    /// In octets.
    Octets(u64),
}

/// What a peer limits (RFC 9422); `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// MAILMAX: transactions a connection.
    pub mail_max: Option<u32>,
    /// RCPTMAX: recipients a transaction.
    pub rcpt_max: Option<u32>,
    /// RCPTDOMAINMAX: different recipient domains a connection.
    pub rcpt_domain_max: Option<u32>,
}
