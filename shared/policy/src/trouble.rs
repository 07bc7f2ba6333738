//! Verdicts where nobody answered, or nobody had to: no route, no connection, or something we know before asking.
//! Where a report must name a status, the reply we write for ourselves stands here too.

use std::net::IpAddr;

use posthaste_mail::{Reply, Stage};
use serde::{Deserialize, Serialize};

use crate::verdict::{Action, Category, Class, RuleName, Scope, Suppress, Verdict};

/// What stood in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "trouble")]
pub enum Trouble {
    /// The domain takes no mail (RFC 7505).
    NullMx,
    /// NXDOMAIN.
    NoSuchDomain,
    /// The MX names have no addresses, or the domain has neither MX nor address: a zone being edited looks so.
    NoMailHost,
    /// The resolver answered with a failure.
    DnsFailed {
        /// Which, for people.
        detail: String,
    },
    /// The resolver did not answer: our fault, not the recipient's.
    DnsTimedOut,
    /// The address guard: the host is at an address mail does not go to.
    NotAllowed {
        /// That address.
        ip: IpAddr,
    },
    /// Nobody listens.
    ConnectRefused,
    /// Nobody answers.
    ConnectTimedOut,
    /// No way there.
    Unreachable,
    /// Every host of the receiver is being left alone for now.
    AllHostsSkipped,
    /// Every host said 521 at its banner: it takes no mail (RFC 7504).
    TakesNoMail,
    /// The connection broke, timed out or spoke garbage, and nothing of the message can have been taken.
    Lost {
        /// While what was being waited for.
        stage: Stage,
        /// How, for people.
        detail: String,
    },
    /// The connection was lost between the final dot and its reply: it may have been taken.
    LostAtDot {
        /// How, for people.
        detail: String,
    },
    /// A reused connection was closed before its next transaction began.
    UsedUp,
    /// TLS was demanded and is not offered.
    TlsUnavailable,
    /// TLS was demanded and its handshake failed.
    TlsFailed {
        /// How, for people.
        detail: String,
    },
    /// The receiver's SIZE is smaller than the message (RFC 1870).
    TooBig {
        /// Its limit in octets.
        limit: u64,
    },
    /// The message has 8-bit lines and the receiver no 8BITMIME (RFC 6152).
    NeedsEightBit,
    /// An address needs SMTPUTF8 and the receiver has none (RFC 6531).
    NeedsSmtpUtf8,
    /// Too many Received fields, or the best MX is ourselves.
    Loop,
    /// The smarthost refused our credentials, or offers no way to give them safely.
    AuthFailed {
        /// How, for people.
        detail: String,
    },
    /// Our own pacer said later.
    PacerRefused,
    /// The policy has no way for this mail.
    NoRoute,
    /// The function's time was too short to begin: ours alone.
    OutOfTime,
}

/// Which way out a dead end has.
fn judged(trouble: &Trouble) -> (&'static str, Category, Class, Scope) {
    use Class::{Permanent, Transient};
    match trouble {
        Trouble::NullMx => ("null-mx", Category::BadDomain, Permanent, Scope::Recipient),
        Trouble::NoSuchDomain => ("no-such-domain", Category::BadDomain, Permanent, Scope::Recipient),
        Trouble::NoMailHost => ("no-mail-host", Category::Dns, Transient, Scope::Site),
        Trouble::DnsFailed { .. } => ("dns-failed", Category::Dns, Transient, Scope::Site),
        Trouble::DnsTimedOut => ("dns-timed-out", Category::Dns, Transient, Scope::Site),
        Trouble::NotAllowed { .. } => ("address-not-allowed", Category::Network, Transient, Scope::Site),
        Trouble::ConnectRefused => ("connect-refused", Category::Network, Transient, Scope::Site),
        Trouble::ConnectTimedOut => ("connect-timed-out", Category::Network, Transient, Scope::Site),
        Trouble::Unreachable => ("unreachable", Category::Network, Transient, Scope::Site),
        Trouble::AllHostsSkipped => ("all-hosts-skipped", Category::Network, Transient, Scope::Site),
        Trouble::TakesNoMail => ("takes-no-mail", Category::BadDomain, Permanent, Scope::Recipient),
        Trouble::Lost { .. } => ("connection-lost", Category::Network, Transient, Scope::Site),
        Trouble::LostAtDot { .. } => ("lost-at-dot", Category::Network, Transient, Scope::Site),
        Trouble::UsedUp => ("closed-on-reuse", Category::ConnectionUsedUp, Transient, Scope::Connection),
        Trouble::TlsUnavailable => ("tls-unavailable", Category::Tls, Transient, Scope::Site),
        Trouble::TlsFailed { .. } => ("tls-failed", Category::Tls, Transient, Scope::Site),
        Trouble::TooBig { .. } => ("size-exceeded", Category::TooBig, Permanent, Scope::Message),
        Trouble::NeedsEightBit => ("needs-8bitmime", Category::Content, Permanent, Scope::Message),
        Trouble::NeedsSmtpUtf8 => ("needs-smtputf8", Category::Protocol, Permanent, Scope::Site),
        Trouble::Loop => ("loop", Category::Loop, Permanent, Scope::Site),
        Trouble::AuthFailed { .. } => ("smarthost-auth", Category::RelayDenied, Transient, Scope::Site),
        Trouble::PacerRefused => ("pacer", Category::RateLimited, Transient, Scope::Egress),
        Trouble::NoRoute => ("no-route", Category::Other, Transient, Scope::Egress),
        Trouble::OutOfTime => ("out-of-time", Category::Other, Transient, Scope::Egress),
    }
}

/// What follows for the recipients concerned.
pub fn verdict_of(trouble: &Trouble) -> Verdict {
    let (rule, category, class, scope) = judged(trouble);
    let rule = RuleName::new(rule);
    let verdict = Verdict { scope, ..Verdict::by_table(category, class, Some(scope), &rule) };
    match trouble {
        // Both are waits of our own making: they cost no attempt and blame nobody.
        Trouble::PacerRefused | Trouble::OutOfTime => Verdict { action: Action::Slow, ..verdict },
        // Every host of the domain refuses mail for good, but hosts are rebuilt: bounce, suppress nobody.
        Trouble::TakesNoMail => Verdict { suppress: Suppress::No, ..verdict },
        _ => verdict,
    }
}

/// The reply that reports and the API show in place of a peer's; none where a verdict speaks for itself.
pub fn as_reply(trouble: &Trouble) -> Option<Reply> {
    let (code, text) = match trouble {
        Trouble::NullMx => (556, "5.1.10 the domain accepts no mail (null MX)".to_owned()),
        Trouble::NoSuchDomain => (550, "5.1.2 the domain does not exist".to_owned()),
        Trouble::NoMailHost => (451, "4.4.4 the domain names no mail host with an address".to_owned()),
        Trouble::DnsFailed { detail } => (451, format!("4.4.3 looking up the domain failed: {detail}")),
        Trouble::DnsTimedOut => (451, "4.4.3 looking up the domain timed out".to_owned()),
        Trouble::NotAllowed { ip } => {
            (451, format!("4.4.4 the mail host is at {ip}, where mail is not sent"))
        }
        Trouble::ConnectRefused => (451, "4.4.1 connection refused".to_owned()),
        Trouble::ConnectTimedOut => (451, "4.4.1 connection timed out".to_owned()),
        Trouble::Unreachable => (451, "4.4.1 the mail host cannot be reached".to_owned()),
        Trouble::AllHostsSkipped => (451, "4.4.1 every mail host failed a short while ago".to_owned()),
        Trouble::TakesNoMail => (556, "5.1.10 every mail host says that it accepts no mail".to_owned()),
        Trouble::Lost { stage, detail } => (451, format!("4.4.2 connection lost at {stage}: {detail}")),
        Trouble::LostAtDot { detail } => {
            (451, format!("4.4.2 connection lost after the final dot: {detail}"))
        }
        Trouble::TlsUnavailable => (454, "4.7.5 TLS is required and the mail host offers none".to_owned()),
        Trouble::TlsFailed { detail } => (454, format!("4.7.5 TLS is required and failed: {detail}")),
        Trouble::TooBig { limit } => {
            (552, format!("5.3.4 the message is larger than the {limit} octets taken there"))
        }
        Trouble::NeedsEightBit => {
            (554, "5.6.3 the message is 8-bit and the mail host takes 7-bit only".to_owned())
        }
        Trouble::NeedsSmtpUtf8 => {
            (553, "5.6.7 an address needs SMTPUTF8 and the mail host has none".to_owned())
        }
        Trouble::Loop => (554, "5.4.6 the message goes round in circles".to_owned()),
        Trouble::AuthFailed { detail } => {
            (454, format!("4.7.0 the smarthost refused our credentials: {detail}"))
        }
        Trouble::NoRoute => (451, "4.4.4 the policy has no way for this mail".to_owned()),
        Trouble::UsedUp | Trouble::PacerRefused | Trouble::OutOfTime => return None,
    };
    Some(Reply::new(code, &[text]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_have_verdicts_and_a_status_that_agrees() {
        let check = |trouble: Trouble, verdict: &str, status: &str| {
            let got = verdict_of(&trouble);
            let shown = format!("{} {} {} {}", got.action, got.category, got.scope, got.suppress);
            assert_eq!(shown, verdict, "{trouble:?}");
            let reply = as_reply(&trouble);
            let code = reply.as_ref().map_or(String::new(), |r| {
                format!("{} {}", r.code, r.enhanced.map(|e| e.to_string()).unwrap_or_default())
            });
            assert_eq!(code, status, "{trouble:?}");
            if let Some(reply) = reply {
                assert_eq!(reply.is_permanent(), got.action == Action::Bounce, "{trouble:?}");
            }
        };
        let detail = || "x".to_owned();
        check(Trouble::NullMx, "bounce bad-domain recipient 7d", "556 5.1.10");
        check(Trouble::NoSuchDomain, "bounce bad-domain recipient 7d", "550 5.1.2");
        check(Trouble::TakesNoMail, "bounce bad-domain recipient no", "556 5.1.10");
        check(Trouble::NoMailHost, "retry dns site no", "451 4.4.4");
        check(Trouble::DnsFailed { detail: detail() }, "retry dns site no", "451 4.4.3");
        check(Trouble::ConnectRefused, "retry network site no", "451 4.4.1");
        check(Trouble::NotAllowed { ip: "127.0.0.1".parse().unwrap() }, "retry network site no", "451 4.4.4");
        check(Trouble::Lost { stage: Stage::Mail, detail: detail() }, "retry network site no", "451 4.4.2");
        check(Trouble::UsedUp, "reconnect connection-used-up connection no", "");
        check(Trouble::TlsUnavailable, "retry tls site no", "454 4.7.5");
        check(Trouble::TooBig { limit: 1 }, "bounce too-big message no", "552 5.3.4");
        check(Trouble::NeedsEightBit, "bounce content message no", "554 5.6.3");
        check(Trouble::NeedsSmtpUtf8, "bounce protocol site no", "553 5.6.7");
        check(Trouble::Loop, "bounce loop site no", "554 5.4.6");
        check(Trouble::AuthFailed { detail: detail() }, "retry relay-denied site no", "454 4.7.0");
        check(Trouble::PacerRefused, "slow rate-limited egress no", "");
        check(Trouble::NoRoute, "retry other egress no", "451 4.4.4");
        check(Trouble::OutOfTime, "slow other egress no", "");
    }
}
