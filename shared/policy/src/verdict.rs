//! What a refusal means: what happens to this recipient, what it is about, who is to blame, whether the
//! recipient is suppressed, and which rule said so. The table of the contract, as one total function.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_mail::Reply;
use serde::{Deserialize, Serialize};

use crate::names::named;
use crate::span::{DAY, parse_span, show_span};

named! {
    /// What happens to this recipient next.
    Action {
        /// It is theirs now.
        Deliver = "deliver",
        /// Later, up the ladder of attempts.
        Retry = "retry",
        /// Later, and slower from now on; costs no attempt.
        Slow = "slow",
        /// The same message in the next transaction; costs no attempt.
        Again = "again",
        /// This connection is used up: a new one; costs no attempt.
        Reconnect = "reconnect",
        /// Never.
        Bounce = "bounce",
    }
}

named! {
    /// What a refusal is about.
    Category {
        /// No such mailbox.
        BadMailbox = "bad-mailbox",
        /// No such domain, or one that takes no mail.
        BadDomain = "bad-domain",
        /// The mailbox exists and is closed.
        Inactive = "inactive",
        /// The mailbox is over its quota.
        MailboxFull = "mailbox-full",
        /// Too much in too short a time: from our address, from our domain, or to this recipient.
        RateLimited = "rate-limited",
        /// A first contact is asked to come back.
        Greylisted = "greylisted",
        /// Too many connections at once.
        ConnectionLimit = "connection-limit",
        /// This connection has carried all it may.
        ConnectionUsedUp = "connection-used-up",
        /// Too many recipients in one transaction.
        TooManyRecipients = "too-many-recipients",
        /// Our address, host name, domain or a URL is on somebody's list, or has a bad name.
        Blocked = "blocked",
        /// What is in the message: spam, malware, malformed.
        Content = "content",
        /// SPF, DKIM, DMARC (the sender's), PTR, HELO (ours).
        Auth = "auth",
        /// A local rule of the receiver, without more being said.
        Policy = "policy",
        /// Larger than is taken there.
        TooBig = "too-big",
        /// The host does not think it serves the recipient's domain.
        RelayDenied = "relay-denied",
        /// TLS was needed and could not be had.
        Tls = "tls",
        /// One side does not understand the other.
        Protocol = "protocol",
        /// The message goes round in circles.
        Loop = "loop",
        /// The receiver is broken just now.
        RemoteFault = "remote-fault",
        /// No connection, or it broke.
        Network = "network",
        /// Names could not be looked up.
        Dns = "dns",
        /// Nothing that any rule knows.
        Other = "other",
    }
}

named! {
    /// Who is to blame, and so who bears what follows.
    Scope {
        /// This mailbox.
        Recipient = "recipient",
        /// This message.
        Message = "message",
        /// Our tenant's domain.
        Sender = "sender",
        /// Our address or host name.
        Egress = "egress",
        /// The receiver.
        Site = "site",
        /// This connection only.
        Connection = "connection",
    }
}

/// Whether a recipient is suppressed, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Suppress {
    /// Not at all.
    No,
    /// For this long from now.
    For(Duration),
}

impl fmt::Display for Suppress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.pad("no"),
            Self::For(span) => f.pad(&show_span(*span)),
        }
    }
}

impl TryFrom<String> for Suppress {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "no" { Ok(Self::No) } else { parse_span(&text).map(Self::For) }
    }
}

impl From<Suppress> for String {
    fn from(suppress: Suppress) -> Self {
        suppress.to_string()
    }
}

/// The name of the rule that decided something: of a verdict, or of a limit. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleName(Arc<str>);

impl RuleName {
    /// A rule's name as it stands in a table of rules.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What one answer, or the lack of one, means for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What happens next.
    pub action: Action,
    /// What it is about.
    pub category: Category,
    /// Who is to blame.
    pub scope: Scope,
    /// Whether the recipient is suppressed, as for one without history; see `SuppressionPolicy`.
    pub suppress: Suppress,
    /// Which rule said so.
    pub rule: RuleName,
}

/// The first digit of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 4xx: never bounces.
    Transient,
    /// 5xx.
    Permanent,
}

impl Class {
    /// Of a reply; whatever is not a 5xx may pass, so it is transient.
    pub fn of(reply: &Reply) -> Self {
        if reply.is_permanent() { Self::Permanent } else { Self::Transient }
    }
}

/// A mailbox that is not there, or closed.
pub const SUPPRESS_MAILBOX: Duration = DAY.saturating_mul(90);
/// A domain that is not there, and refusals that only mostly mean a mailbox that is not there.
pub const SUPPRESS_DOMAIN: Duration = DAY.saturating_mul(7);

impl Verdict {
    /// It was accepted.
    pub fn delivered() -> Self {
        Self {
            action: Action::Deliver,
            category: Category::Other,
            scope: Scope::Message,
            suppress: Suppress::No,
            rule: RuleName::new("accepted"),
        }
    }

    /// What the contract's table says of a category. `scope` says whose rate, block or authentication it is where
    /// the table knows several; elsewhere it is not looked at.
    pub fn by_table(category: Category, class: Class, scope: Option<Scope>, rule: &RuleName) -> Self {
        use Action::{Again, Bounce, Reconnect, Retry, Slow};
        let first_digit = if class == Class::Permanent { Bounce } else { Retry };
        let (action, usual_scope) = match category {
            Category::BadMailbox | Category::BadDomain | Category::Inactive | Category::MailboxFull => {
                (first_digit, Scope::Recipient)
            }
            Category::RateLimited if scope == Some(Scope::Recipient) => (Retry, Scope::Recipient),
            Category::RateLimited | Category::ConnectionLimit => (Slow, Scope::Egress),
            Category::Greylisted => (Retry, Scope::Message),
            Category::ConnectionUsedUp => (Reconnect, Scope::Connection),
            Category::TooManyRecipients => (Again, Scope::Message),
            Category::Blocked if class == Class::Transient => (Slow, Scope::Egress),
            Category::Blocked => (Bounce, Scope::Egress),
            Category::Auth if class == Class::Transient && scope == Some(Scope::Egress) => {
                (Slow, Scope::Egress)
            }
            Category::Auth => (first_digit, Scope::Sender),
            Category::Content | Category::Policy | Category::TooBig | Category::Other => {
                (first_digit, Scope::Message)
            }
            Category::RelayDenied | Category::Loop => (first_digit, Scope::Site),
            Category::Protocol => (first_digit, Scope::Egress),
            Category::Tls | Category::RemoteFault | Category::Network | Category::Dns => (Retry, Scope::Site),
        };
        let scope = match (category, scope) {
            (Category::RateLimited | Category::Blocked | Category::Auth, Some(named)) => named,
            _ => usual_scope,
        };
        let suppress = match (category, action) {
            (Category::BadMailbox | Category::Inactive, Bounce) => Suppress::For(SUPPRESS_MAILBOX),
            (Category::BadDomain, Bounce) => Suppress::For(SUPPRESS_DOMAIN),
            _ => Suppress::No,
        };
        Self { action, category, scope, suppress, rule: rule.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_4xx_never_bounces_or_suppresses_and_only_recipients_are_suppressed() {
        for &category in Category::ALL {
            for scope in std::iter::once(None).chain(Scope::ALL.iter().copied().map(Some)) {
                for class in [Class::Transient, Class::Permanent] {
                    let verdict = Verdict::by_table(category, class, scope, &RuleName::new("r"));
                    if class == Class::Transient {
                        assert_ne!(verdict.action, Action::Bounce, "{category}");
                        assert_eq!(verdict.suppress, Suppress::No, "{category}");
                    }
                    if verdict.suppress != Suppress::No {
                        assert_eq!(
                            (verdict.scope, verdict.action),
                            (Scope::Recipient, Action::Bounce),
                            "{category}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_table_is_the_contract() {
        use Class::{Permanent, Transient};
        let check = |category: Category, class: Class, scope: Option<Scope>, expected: &str| {
            let v = Verdict::by_table(category, class, scope, &RuleName::new("r"));
            let got = format!("{} {} {}", v.action, v.scope, v.suppress);
            assert_eq!(got, expected, "{category} {class:?} {scope:?}");
        };
        check(Category::BadMailbox, Permanent, None, "bounce recipient 90d");
        check(Category::BadMailbox, Transient, None, "retry recipient no");
        check(Category::BadDomain, Permanent, None, "bounce recipient 7d");
        check(Category::Inactive, Permanent, None, "bounce recipient 90d");
        check(Category::MailboxFull, Permanent, None, "bounce recipient no");
        check(Category::RateLimited, Transient, None, "slow egress no");
        check(Category::RateLimited, Transient, Some(Scope::Sender), "slow sender no");
        check(Category::RateLimited, Permanent, Some(Scope::Recipient), "retry recipient no");
        check(Category::Greylisted, Transient, None, "retry message no");
        check(Category::ConnectionLimit, Transient, None, "slow egress no");
        check(Category::ConnectionUsedUp, Transient, None, "reconnect connection no");
        check(Category::TooManyRecipients, Transient, None, "again message no");
        check(Category::Blocked, Transient, None, "slow egress no");
        check(Category::Blocked, Permanent, Some(Scope::Sender), "bounce sender no");
        check(Category::Auth, Permanent, None, "bounce sender no");
        check(Category::Auth, Transient, None, "retry sender no");
        check(Category::Auth, Transient, Some(Scope::Egress), "slow egress no");
        check(Category::RelayDenied, Permanent, None, "bounce site no");
        check(Category::Tls, Permanent, None, "retry site no");
        check(Category::Protocol, Permanent, None, "bounce egress no");
        check(Category::Loop, Permanent, None, "bounce site no");
        check(Category::RemoteFault, Permanent, None, "retry site no");
        check(Category::Other, Permanent, None, "bounce message no");
    }

    #[test]
    fn suppressions_are_written_as_the_contract_says() {
        assert_eq!(Suppress::For(SUPPRESS_MAILBOX).to_string(), "90d");
        assert_eq!(Suppress::try_from("7d".to_owned()), Ok(Suppress::For(SUPPRESS_DOMAIN)));
        assert_eq!(Suppress::try_from("no".to_owned()), Ok(Suppress::No));
    }
}
