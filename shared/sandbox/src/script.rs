//! What an address asks the sandbox to do: pure functions from local parts and domain labels to scripts.
//!
//! Unknown words are no scripts: mail to them is simply accepted, as mail to `success@` is.

use std::time::Duration;

use posthaste_mail::{Address, Domain};

/// Longest wait of `slow-N@`: 10 min is what a sender grants the reply to the final dot (RFC 5321 4.5.3.2.6).
pub const SLOW_SECONDS_MAX: u32 = 600;
/// Most refusals of `defer-N@` and `throttle-N@`: beyond it every schedule has expired anyway.
pub const REFUSALS_MAX: u32 = 1_000;

/// What happens to mail for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// `success@`, and every address that is no script.
    Accept,
    /// `bounce@`: 550 5.1.1 at RCPT.
    Bounce,
    /// `defer-N@`: 451 4.7.1 at RCPT N times, then accepted.
    Defer {
        /// How many times.
        times: u32,
    },
    /// `mailbox-full@`: 452 4.2.2 at RCPT.
    MailboxFull,
    /// `blocked@`: 550 5.7.1 at RCPT, naming a blocklist.
    Blocked,
    /// `auth@`: 550 5.7.26 at RCPT.
    Unauthenticated,
    /// `throttle-N@`: 421 4.7.0 at RCPT and a close N times, then accepted.
    Throttle {
        /// How many times.
        times: u32,
    },
    /// `spam@`: 554 5.7.1 at the dot.
    Spam,
    /// `slow-N@`: accepted, but the reply to the dot comes after this wait.
    Slow {
        /// At most [`SLOW_SECONDS_MAX`].
        wait: Duration,
    },
    /// `drop@`: kept, but the connection closes instead of the reply to the dot; once.
    Drop,
    /// `complaint@`: accepted, then an ARF report comes back.
    Complaint,
    /// `late-bounce@`: accepted, then a DSN comes back.
    LateBounce,
}

impl Script {
    /// The script of a recipient. Case does not matter, nor what follows a plus sign.
    pub fn of(address: &Address) -> Self {
        let folded = address.local().to_ascii_lowercase();
        let word = folded.split_once('+').map_or(folded.as_str(), |(word, _)| word);
        match word {
            "bounce" => Self::Bounce,
            "mailbox-full" => Self::MailboxFull,
            "blocked" => Self::Blocked,
            "auth" => Self::Unauthenticated,
            "spam" => Self::Spam,
            "drop" => Self::Drop,
            "complaint" => Self::Complaint,
            "late-bounce" => Self::LateBounce,
            _ => Self::numbered(word).unwrap_or(Self::Accept),
        }
    }

    fn numbered(word: &str) -> Option<Self> {
        let (word, digits) = word.rsplit_once('-')?;
        let fits = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let number: u32 = if fits { digits.parse().ok()? } else { return None };
        match word {
            "defer" => Some(Self::Defer { times: number.min(REFUSALS_MAX) }),
            "throttle" => Some(Self::Throttle { times: number.min(REFUSALS_MAX) }),
            "slow" => Some(Self::Slow { wait: Duration::from_secs(number.min(SLOW_SECONDS_MAX).into()) }),
            _ => None,
        }
    }

    /// Whether the script answers for a whole message, so that its recipient must be alone in the transaction.
    pub fn acts_at_dot(self) -> bool {
        matches!(self, Self::Spam | Self::Slow { .. } | Self::Drop)
    }
}

/// Which receiver answers: what it does before RCPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Face {
    /// Offers STARTTLS, and it works.
    Normal,
    /// Does not offer STARTTLS.
    NoStartTls,
    /// Offers STARTTLS, but the handshake fails.
    TlsBroken,
    /// Answers 421 at the banner and closes.
    Busy,
    /// Refuses the connection; over a pipe it closes without a word.
    Dead,
}

impl Face {
    /// Every face.
    pub const ALL: [Face; 5] = [Face::Normal, Face::NoStartTls, Face::TlsBroken, Face::Busy, Face::Dead];

    /// The label that marks this face's host name; the normal face has none.
    pub(crate) fn label(self) -> Option<&'static str> {
        match self {
            Self::Normal => None,
            Self::NoStartTls => Some("nostarttls"),
            Self::TlsBroken => Some("tlsbroken"),
            Self::Busy => Some("busy"),
            Self::Dead => Some("deadmx"),
        }
    }
}

/// What the sandbox's name service says of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainScript {
    /// A null MX (RFC 7505).
    NullMx,
    /// SERVFAIL.
    ServFail,
    /// NXDOMAIN.
    NoSuchDomain,
    /// MX hosts with these faces, the preferred one first.
    Hosts(&'static [Face]),
}

impl DomainScript {
    /// The script of a domain by its first label.
    pub fn of(domain: &Domain) -> Self {
        let label = domain.as_str().split('.').next().unwrap_or_default();
        match label {
            "nullmx" => Self::NullMx,
            "servfail" => Self::ServFail,
            "nxdomain" => Self::NoSuchDomain,
            "nostarttls" => Self::Hosts(&[Face::NoStartTls]),
            "tlsbroken" => Self::Hosts(&[Face::TlsBroken]),
            "deadmx" => Self::Hosts(&[Face::Dead, Face::Normal]),
            "busy" => Self::Hosts(&[Face::Busy, Face::Normal]),
            _ => Self::Hosts(&[Face::Normal]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_parts_are_scripts() {
        let check = |local: &str, expected: Script| {
            let address = Address::parse(&format!("{local}@example.net")).unwrap();
            assert_eq!(Script::of(&address), expected, "{local}");
        };
        check("success", Script::Accept);
        check("ann", Script::Accept);
        check("bounce", Script::Bounce);
        check("Bounce+Tag", Script::Bounce);
        check("bouncer", Script::Accept);
        check("defer-2", Script::Defer { times: 2 });
        check("DEFER-2+x-9", Script::Defer { times: 2 });
        check("defer-0", Script::Defer { times: 0 });
        check("defer-999999999", Script::Defer { times: REFUSALS_MAX });
        check("defer-99999999999", Script::Accept);
        check("defer--1", Script::Accept);
        check("defer", Script::Accept);
        check("mailbox-full", Script::MailboxFull);
        check("blocked", Script::Blocked);
        check("spam", Script::Spam);
        check("auth", Script::Unauthenticated);
        check("throttle-3", Script::Throttle { times: 3 });
        check("slow-30", Script::Slow { wait: Duration::from_secs(30) });
        check("slow-9999", Script::Slow { wait: Duration::from_secs(600) });
        check("drop", Script::Drop);
        check("complaint", Script::Complaint);
        check("late-bounce", Script::LateBounce);
    }

    #[test]
    fn first_labels_are_scripts() {
        let check = |domain: &str, expected: DomainScript| {
            assert_eq!(DomainScript::of(&Domain::parse(domain).unwrap()), expected, "{domain}");
        };
        check("example.net", DomainScript::Hosts(&[Face::Normal]));
        check("nostarttls.example.net", DomainScript::Hosts(&[Face::NoStartTls]));
        check("mail.nostarttls.example.net", DomainScript::Hosts(&[Face::Normal]));
        check("TLSbroken.example.net", DomainScript::Hosts(&[Face::TlsBroken]));
        check("nullmx.example.net", DomainScript::NullMx);
        check("servfail.example.net", DomainScript::ServFail);
        check("nxdomain.example.net", DomainScript::NoSuchDomain);
        check("deadmx.example.net", DomainScript::Hosts(&[Face::Dead, Face::Normal]));
        check("busy.example.net", DomainScript::Hosts(&[Face::Busy, Face::Normal]));
    }
}
