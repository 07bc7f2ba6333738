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
    /// `XID`, private to the sandbox receiver: MAIL takes the message's id.
    pub xid: bool,
    /// `XTRY`, private to the sandbox receiver: RCPT takes how often the recipient was asked for before.
    pub xtry: bool,
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

/// Most AUTH mechanisms that are kept; the longest lists seen have about a dozen.
const MECHANISMS_MAX: usize = 32;

impl Capabilities {
    /// From the lines of a 2xx reply to EHLO; the first is the greeting. What is not known or not well formed is
    /// passed over: an extension that cannot be read is one that is not used.
    pub(crate) fn from_ehlo(lines: &[String]) -> Self {
        let mut found = Self::default();
        for line in lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let Some(keyword) = words.next() else { continue };
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => found.pipelining = true,
                "STARTTLS" => found.starttls = true,
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "ENHANCEDSTATUSCODES" => found.enhanced_status_codes = true,
                "SIZE" => {
                    let octets = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                    found.size = Some(octets.map_or(SizeLimit::Unstated, SizeLimit::Octets));
                }
                "XID" => found.xid = true,
                "XTRY" => found.xtry = true,
                "LIMITS" => found.limits = Limits::read(words),
                "AUTH" => found.add_mechanisms(words),
                // Written so before RFC 2554 settled, and still by some for old clients' sake.
                upper => {
                    if let Some(first) = upper.strip_prefix("AUTH=") {
                        found.add_mechanisms(std::iter::once(first).chain(words));
                    }
                }
            }
        }
        found
    }

    fn add_mechanisms<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words {
            let name = word.to_ascii_uppercase();
            if !name.is_empty() && !self.auth.contains(&name) && self.auth.len() < MECHANISMS_MAX {
                self.auth.push(name);
            }
        }
    }
}

impl Limits {
    /// From `NAME=value` words; unknown names and values other than 1 to 999999 are passed over (RFC 9422 section 4).
    fn read<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut limits = Self::default();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().ok().filter(|n| (1..=999_999).contains(n));
            match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => limits.mail_max = value,
                "RCPTMAX" => limits.rcpt_max = value,
                "RCPTDOMAINMAX" => limits.rcpt_domain_max = value,
                _ => {}
            }
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ehlo_replies_say_what_is_offered() {
        let check = |reply: &str, expected: Capabilities| {
            let lines: Vec<String> = reply.split('|').map(str::to_owned).collect();
            assert_eq!(Capabilities::from_ehlo(&lines), expected, "{reply}");
        };
        let none = Capabilities::default();
        check("PIPELINING is a greeting here", none.clone());
        check(
            "mx|pipelining|8BitMime",
            Capabilities { pipelining: true, eight_bit_mime: true, ..none.clone() },
        );
        check("mx|SIZE", Capabilities { size: Some(SizeLimit::Unstated), ..none.clone() });
        check("mx|SIZE 0", Capabilities { size: Some(SizeLimit::Unstated), ..none.clone() });
        check("mx|SIZE many", Capabilities { size: Some(SizeLimit::Unstated), ..none.clone() });
        check("mx|SIZE 35882577", Capabilities { size: Some(SizeLimit::Octets(35_882_577)), ..none.clone() });
        let limits = Limits { mail_max: Some(20), rcpt_max: Some(5), rcpt_domain_max: None };
        check("mx|LIMITS RCPTMAX=5 mailmax=20 RCPTDOMAINMAX=0 X=1", Capabilities { limits, ..none.clone() });
        let auth = vec!["PLAIN".to_owned(), "LOGIN".to_owned()];
        check("mx|AUTH=PLAIN LOGIN|AUTH login", Capabilities { auth, ..none.clone() });
        check("mx||XFOO BAR|DSN", none);
    }
}
