//! Every word the sandbox says. Texts are those receivers use, so that classifiers are tried on what they will meet.

use posthaste_mail::Address;

use crate::command::Refusal;
use crate::octets::Flaw;
use crate::{MESSAGE_OCTETS_MAX, Script, Tries};

pub(crate) const MAIL_OK: &str = "250 2.1.0 Ok";
pub(crate) const RCPT_OK: &str = "250 2.1.5 Ok";
pub(crate) const OK: &str = "250 2.0.0 Ok";
pub(crate) const VRFY: &str = "252 2.0.0 Send some mail and it will be kept";
pub(crate) const BYE: &str = "221 2.0.0 Bye";
pub(crate) const GO_AHEAD: &str = "354 End data with <CR><LF>.<CR><LF>";
pub(crate) const TLS_READY: &str = "220 2.0.0 Ready to start TLS";
pub(crate) const TLS_NOT_OFFERED: &str = "502 5.5.1 STARTTLS is not offered here";
pub(crate) const TLS_ALREADY: &str = "503 5.5.1 TLS is already active";
pub(crate) const EHLO_FIRST: &str = "503 5.5.1 Send EHLO or HELO first";
pub(crate) const NESTED_MAIL: &str = "503 5.5.1 Nested MAIL command";
pub(crate) const MAIL_FIRST: &str = "503 5.5.1 Send MAIL first";
pub(crate) const RCPT_FIRST: &str = "503 5.5.1 Send RCPT first";
pub(crate) const KEPT: &str = "250 2.0.0 Ok: kept in the sandbox";
pub(crate) const NO_RECIPIENTS: &str = "554 5.5.1 No valid recipients";
pub(crate) const TOO_BIG: &str = "552 5.3.4 Message size exceeds the fixed limit";
pub(crate) const TOO_MANY_RECIPIENTS: &str = "452 4.5.3 Too many recipients";
pub(crate) const ALONE: &str = "452 4.5.3 Too many recipients: one of them answers for the whole message";
pub(crate) const HELO_HAS_NO_PARAMETERS: &str = "555 5.5.4 Parameters need EHLO";
pub(crate) const UTF8_NOT_ASKED_FOR: &str = "553 5.6.7 Address needs SMTPUTF8";
pub(crate) const SPAM: &str = "554 5.7.1 Message rejected: its content was detected as spam";
pub(crate) const LINE_TOO_LONG: &str = "500 5.5.6 Line too long";
pub(crate) const STRAY: &str = "550 5.5.2 Bare CR, bare LF and NUL are not accepted: lines end with <CR><LF>";
pub(crate) const TOO_MANY_ERRORS: &str = "421 4.7.0 Too many errors, closing the connection";
pub(crate) const IDLE: &str = "421 4.4.2 Timeout exceeded, closing the connection";

pub(crate) fn banner(host: &str) -> String {
    format!("220 {host} ESMTP Posthaste sandbox")
}

pub(crate) fn busy(host: &str) -> String {
    format!("421 4.3.2 {host} is too busy to take mail now, try again later")
}

pub(crate) fn full(host: &str) -> String {
    format!("421 4.7.0 {host} has too many connections open, try again later")
}

/// What EHLO announces; STARTTLS last and only where it may be used.
pub(crate) fn ehlo(host: &str, tries: Tries, starttls: Option<&str>) -> Vec<String> {
    let mut lines = vec![
        format!("{host} greets you"),
        "PIPELINING".to_owned(),
        format!("SIZE {MESSAGE_OCTETS_MAX}"),
        "8BITMIME".to_owned(),
        "SMTPUTF8".to_owned(),
        "ENHANCEDSTATUSCODES".to_owned(),
        "XID".to_owned(),
    ];
    if tries == Tries::Told {
        lines.push("XTRY".to_owned());
    }
    lines.extend(starttls.map(str::to_owned));
    lines
}

pub(crate) fn refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Unknown => "500 5.5.2 Command not recognized",
        Refusal::NotOffered => "502 5.5.1 Command not implemented",
        Refusal::Syntax => "501 5.5.4 Syntax error in the arguments",
        Refusal::BadAddress => "553 5.1.3 Bad address syntax",
        Refusal::BadParameter => "555 5.5.4 Parameter not recognized",
        Refusal::NotAscii => "553 5.6.7 Address or command is not ASCII and SMTPUTF8 was not asked for",
    }
}

pub(crate) fn flawed(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::Stray => STRAY,
        Flaw::TooBig => TOO_BIG,
        Flaw::NoRoom => "452 4.3.1 Insufficient system storage",
    }
}

/// What RCPT is answered where the script refuses there.
pub(crate) fn rcpt_refused(script: Script, to: &Address) -> Option<String> {
    match script {
        Script::Bounce => Some(format!("550 5.1.1 <{to}>: Recipient address rejected: User unknown")),
        Script::Defer { .. } => {
            Some(format!("451 4.7.1 <{to}>: Recipient address rejected: Greylisted, please try again later"))
        }
        Script::MailboxFull => Some(format!("452 4.2.2 <{to}>: Mailbox full, the user is over quota")),
        Script::Blocked => Some(
            "550 5.7.1 Service unavailable; client host blocked using zen.spamhaus.org, \
             your address is on its blocklist"
                .to_owned(),
        ),
        Script::Unauthenticated => Some(
            "550 5.7.26 Unauthenticated email is not accepted: neither SPF nor DKIM passed for the sender's \
             domain, as its DMARC policy demands"
                .to_owned(),
        ),
        Script::Throttle { .. } => Some(
            "421 4.7.0 Unusual rate of mail from your address, it has been temporarily rate limited; \
             try again later"
                .to_owned(),
        ),
        Script::Accept
        | Script::Spam
        | Script::Slow { .. }
        | Script::Drop
        | Script::Complaint
        | Script::LateBounce => None,
    }
}
