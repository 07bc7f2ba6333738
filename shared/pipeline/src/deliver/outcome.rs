//! From what the wire said to what the ledger is told. Pure: the stage table's last column and the classifier.

use std::net::IpAddr;
use std::time::Duration;

use posthaste_mail::{Reply, Stage};
use posthaste_policy::classify::{Classifier, Observed, wait_named};
use posthaste_policy::retry::Position;
use posthaste_policy::trouble::{Trouble, as_reply, verdict_of};
use posthaste_policy::{Action, Category, Suppress, Verdict};
use posthaste_route::RouteError;
use posthaste_smtp::{ConnectFailure, Inability, Loss, OpenError, Outcome, TlsFacts};

use crate::machine::{Certainty, Told};

/// A failure that is not about one recipient: told to all of them alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// How far it came.
    pub stage: Stage,
    /// The host.
    pub host: Option<String>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// What it said, or the code we give.
    pub reply: Option<Reply>,
    /// What happened where no reply tells it.
    pub detail: Option<String>,
    /// What follows.
    pub verdict: Verdict,
    /// A wait that the reply names.
    pub named_wait: Option<Duration>,
}

impl Failure {
    fn of(trouble: &Trouble, stage: Stage, detail: String) -> Self {
        Self {
            stage,
            host: None,
            ip: None,
            reply: as_reply(trouble),
            detail: Some(detail),
            verdict: verdict_of(trouble),
            named_wait: None,
        }
    }

    /// For each of a row's recipients.
    pub fn told(&self, recipient: usize) -> Told {
        Told {
            recipient,
            stage: self.stage,
            host: self.host.clone(),
            ip: self.ip,
            tls: None,
            reply: self.reply.clone(),
            detail: self.detail.clone(),
            verdict: self.verdict.clone(),
            named_wait: self.named_wait,
            certainty: Certainty::Known,
            position: Position::Later,
        }
    }

    /// A smarthost whose credentials are nowhere to be found.
    pub fn no_credentials(detail: String) -> Self {
        Self::of(&Trouble::AuthFailed { detail: detail.clone() }, Stage::Auth, detail)
    }

    /// The sandbox's own domains that have no way.
    pub fn of_trouble(trouble: &Trouble, detail: &str) -> Self {
        Self::of(trouble, Stage::Route, detail.to_owned())
    }
}

/// No route.
pub fn of_route(error: &RouteError) -> Failure {
    let trouble = match error {
        RouteError::NoSuchDomain { .. } => Trouble::NoSuchDomain,
        RouteError::NullMx { .. } => Trouble::NullMx,
        // The domain exists and has nothing mail could go to; Postfix bounces it too.
        RouteError::NoMailHost { .. } => Trouble::TakesNoMail,
        RouteError::NoAddresses { .. } => Trouble::NoMailHost,
        RouteError::Forbidden { forbidden, .. } => Trouble::NotAllowed { ip: forbidden.ip },
        RouteError::LoopsBack { .. } => Trouble::Loop,
        RouteError::DnsFailed { why, .. } => Trouble::DnsFailed { detail: why.clone() },
        RouteError::DnsTimedOut { .. } => Trouble::DnsTimedOut,
    };
    Failure { reply: Some(error.reply()), ..Failure::of(&trouble, Stage::Route, error.to_string()) }
}

/// No connection to one address.
pub fn of_open(error: &OpenError, host: &str, ip: IpAddr, classifier: &Classifier) -> Failure {
    let detail = error.to_string();
    let failure = match error {
        OpenError::Connect { how: ConnectFailure::Refused } => {
            Failure::of(&Trouble::ConnectRefused, Stage::Connect, detail)
        }
        OpenError::Connect { how: ConnectFailure::TimedOut } => {
            Failure::of(&Trouble::ConnectTimedOut, Stage::Connect, detail)
        }
        OpenError::Connect { how: ConnectFailure::Unreachable(_) } => {
            Failure::of(&Trouble::Unreachable, Stage::Connect, detail)
        }
        OpenError::Replied { stage, reply } => refused_before_mail(*stage, reply, host, classifier),
        OpenError::Lost { stage, how } => {
            Failure::of(&Trouble::Lost { stage: *stage, detail: how.to_string() }, *stage, detail)
        }
        OpenError::NoTls { .. } => Failure::of(&Trouble::TlsUnavailable, Stage::Tls, detail),
        OpenError::Handshake { .. } | OpenError::Injected => {
            Failure::of(&Trouble::TlsFailed { detail: detail.clone() }, Stage::Tls, detail)
        }
        OpenError::NoAuth { .. } => {
            Failure::of(&Trouble::AuthFailed { detail: detail.clone() }, Stage::Auth, detail)
        }
        OpenError::DeadlinePassed => Failure::of(&Trouble::OutOfTime, Stage::Connect, detail),
    };
    Failure { host: Some(host.to_owned()), ip: Some(ip), ..failure }
}

/// Before MAIL nothing is about the message: it waits, whatever the digit, and nobody is suppressed.
fn refused_before_mail(stage: Stage, reply: &Reply, host: &str, classifier: &Classifier) -> Failure {
    let mut verdict = classifier.classify(&Observed { stage, reply, mx_host: Some(host), recipients: 0 });
    if !matches!(verdict.action, Action::Retry | Action::Slow) {
        verdict.action = Action::Retry;
    }
    verdict.suppress = Suppress::No;
    Failure {
        stage,
        host: None,
        ip: None,
        reply: Some(reply.clone()),
        detail: None,
        verdict,
        named_wait: wait_named(reply),
    }
}

/// Every host was tried: the failure that says most. All 521: the receiver takes no mail (RFC 7504).
pub fn of_all(failures: Vec<Failure>) -> Failure {
    let all_521 =
        failures.iter().all(|f| f.reply.as_ref().is_some_and(|r| r.code == 521) && f.stage <= Stage::Ehlo);
    let told = |f: &Failure| match (&f.reply, f.stage) {
        (Some(_), stage) if stage > Stage::Connect => 3,
        (_, Stage::Tls | Stage::Auth) => 2,
        _ => 1,
    };
    let mut best: Option<Failure> = None;
    for failure in failures {
        if best.as_ref().is_none_or(|known| told(&failure) > told(known)) {
            best = Some(failure);
        }
    }
    let best = best.unwrap_or_else(|| Failure::of_trouble(&Trouble::NoRoute, "there was no host to try"));
    if all_521 && best.reply.is_some() {
        return Failure { verdict: verdict_of(&Trouble::TakesNoMail), ..best };
    }
    best
}

/// Who answered in a transaction.
pub struct Answered<'a> {
    /// The MX name.
    pub host: &'a str,
    /// Its address.
    pub ip: IpAddr,
    /// Its TLS.
    pub tls: Option<&'a TlsFacts>,
    /// Recipients in the transaction.
    pub recipients: usize,
}

/// What one recipient's outcome means. None: nothing was tried, so nothing is told.
pub fn of_recipient(
    recipient: usize,
    nth: usize,
    outcome: &Outcome,
    by: &Answered<'_>,
    classifier: &Classifier,
) -> Option<Told> {
    let trouble = |trouble: &Trouble| (as_reply(trouble), verdict_of(trouble));
    let mut certainty = Certainty::Known;
    let mut detail = None;
    let (stage, (reply, verdict)) = match outcome {
        Outcome::Delivered { reply } => (Stage::Dot, (Some(reply.clone()), Verdict::delivered())),
        Outcome::Refused { stage, reply } => {
            let observed =
                Observed { stage: *stage, reply, mx_host: Some(by.host), recipients: by.recipients };
            (*stage, (Some(reply.clone()), classifier.classify(&observed)))
        }
        Outcome::NextTransaction { reply } => {
            let mut verdict = verdict_of(&Trouble::PacerRefused);
            verdict.action = Action::Again;
            verdict.category = Category::TooManyRecipients;
            verdict.scope = posthaste_policy::Scope::Message;
            verdict.rule = posthaste_policy::RuleName::new("too-many-recipients");
            (Stage::Rcpt, (reply.clone(), verdict))
        }
        Outcome::Unable { why } => {
            detail = Some(why.to_string());
            let why = match why {
                Inability::TooBig { limit } => Trouble::TooBig { limit: *limit },
                Inability::EightBit => Trouble::NeedsEightBit,
                Inability::SmtpUtf8 => Trouble::NeedsSmtpUtf8,
            };
            (Stage::Mail, trouble(&why))
        }
        Outcome::Lost { stage, how } => {
            detail = Some(how.to_string());
            (*stage, trouble(&Trouble::Lost { stage: *stage, detail: how.to_string() }))
        }
        Outcome::Ambiguous { how } => {
            certainty = Certainty::Ambiguous;
            detail = Some(lost_at_dot(how));
            (Stage::Dot, trouble(&Trouble::LostAtDot { detail: how.to_string() }))
        }
        Outcome::Reconnect { reply } => {
            detail = Some("the connection was used up".to_owned());
            let (_, verdict) = trouble(&Trouble::UsedUp);
            (Stage::Mail, (reply.clone(), verdict))
        }
        Outcome::Unsent { .. } => return None,
    };
    Some(Told {
        recipient,
        stage,
        host: Some(by.host.to_owned()),
        ip: Some(by.ip),
        tls: by.tls.map(shown),
        named_wait: reply.as_ref().and_then(wait_named),
        reply,
        detail,
        verdict,
        certainty,
        position: if nth == 0 { Position::First } else { Position::Later },
    })
}

fn lost_at_dot(how: &Loss) -> String {
    format!("{how} after the final dot: it may have been taken")
}

/// `TLSv1.3 verified`.
pub fn shown(tls: &TlsFacts) -> String {
    format!("{} {}", tls.version, if tls.trust.is_verified() { "verified" } else { "unverified" })
}
