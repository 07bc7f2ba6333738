//! Reports that come back after acceptance: an abuse report (RFC 5965) and a delivery status notification (RFC 3464).
//!
//! Only builds messages; who takes them decides when and how they arrive.

use bytes::Bytes;
use posthaste_mail::{Address, Domain, ReversePath};

use crate::store::Kept;

/// Octets of the original's headers that a report carries.
const HEADERS_OCTETS_MAX: usize = 16 * 1024;

/// What a report tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackKind {
    /// `complaint@`: the recipient called it spam.
    Complaint,
    /// `late-bounce@`: it could not be delivered after all.
    LateBounce,
}

/// One report on its way to the message's MAIL FROM. It is handed over once the acceptance it follows is written, so
/// it may come before the sender has settled the delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// What it tells.
    pub kind: FeedbackKind,
    /// The MAIL FROM of the report: the null path for a DSN.
    pub mail_from: ReversePath,
    /// The MAIL FROM of the message it is about.
    pub rcpt_to: Address,
    /// The report, a whole message.
    pub raw: Bytes,
    /// What its sender said a report about it has to be handed in with, if anything: `XID=<id>/<token>`.
    pub token: Option<String>,
}

/// The report about one recipient of a kept message; none where there is no return path (RFC 5321 4.5.5).
pub(crate) fn report(
    kind: FeedbackKind,
    recipient: &Address,
    kept: &Kept,
    id: &str,
    host: &Domain,
) -> Option<Feedback> {
    let rcpt_to = kept.mail_from.address()?.clone();
    let n = kept.rcpt_to.iter().position(|to| to == recipient).unwrap_or(0);
    let parts = Parts { recipient, kept, host, boundary: format!("=_{id}_{n}"), return_path: &rcpt_to };
    let (mail_from, text) = match kind {
        FeedbackKind::Complaint => {
            let complaints = Address::parse(&format!("complaints@{host}")).ok();
            (complaints.map_or(ReversePath::Null, ReversePath::Address), parts.complaint())
        }
        FeedbackKind::LateBounce => (ReversePath::Null, parts.late_bounce()),
    };
    Some(Feedback { kind, mail_from, rcpt_to, raw: Bytes::from(text), token: None })
}

struct Parts<'a> {
    recipient: &'a Address,
    kept: &'a Kept,
    host: &'a Domain,
    boundary: String,
    return_path: &'a Address,
}

impl Parts<'_> {
    fn complaint(&self) -> Vec<u8> {
        let (date, from) = (self.kept.received_at.rfc5322(), self.return_path);
        let machine = format!(
            "Feedback-Type: abuse\r\nUser-Agent: Posthaste-Sandbox/1.0\r\nVersion: 1\r\nOriginal-Mail-From: <{from}>\r\n\
             Original-Rcpt-To: <{to}>\r\nArrival-Date: {date}\r\nReporting-MTA: dns; {host}\r\nReported-Domain: {domain}\r\n",
            to = self.recipient,
            host = self.host,
            domain = from.domain(),
        );
        let words = format!(
            "This is an abuse report for a message to {} received on {date}.\r\nThe recipient marked it as spam.\r\n",
            self.recipient
        );
        self.message(
            "complaints",
            "Abuse report",
            "feedback-report",
            "message/feedback-report",
            &words,
            &machine,
        )
    }

    fn late_bounce(&self) -> Vec<u8> {
        let (date, to, host) = (self.kept.received_at.rfc5322(), self.recipient, self.host);
        // RFC 6533 3 for addresses that are not ASCII.
        let kind = if to.needs_smtputf8() { "utf-8" } else { "rfc822" };
        let reply = format!("550 5.1.1 <{to}>: Recipient address rejected: User unknown");
        let xid = self
            .kept
            .xid
            .as_deref()
            .map(|xid| format!("Original-Envelope-Id: {xid}\r\n"))
            .unwrap_or_default();
        let machine = format!(
            "{xid}Reporting-MTA: dns; {host}\r\nArrival-Date: {date}\r\n\r\nFinal-Recipient: {kind}; {to}\r\n\
             Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mailstore.{host}\r\nDiagnostic-Code: smtp; {reply}\r\n\
             Last-Attempt-Date: {date}\r\n",
        );
        let words = format!(
            "This is the mail system at host {host}.\r\n\r\nYour message was accepted, but could not be delivered to \
             its recipient:\r\n\r\n<{to}>: {reply}\r\n"
        );
        self.message(
            "mailer-daemon",
            "Undelivered Mail Returned to Sender",
            "delivery-status",
            "message/delivery-status",
            &words,
            &machine,
        )
    }

    fn message(
        &self,
        from: &str,
        subject: &str,
        kind: &str,
        machine_type: &str,
        words: &str,
        machine: &str,
    ) -> Vec<u8> {
        let (host, boundary) = (self.host, &self.boundary);
        let head = format!(
            "From: <{from}@{host}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nDate: {date}\r\n\
             Message-ID: <{id}.{kind}@{host}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type={kind};\r\n boundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{words}\r\n\
             --{boundary}\r\nContent-Type: {machine_type}\r\n\r\n{machine}\r\n\
             --{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n",
            to = self.return_path,
            date = self.kept.received_at.rfc5322(),
            id = boundary.trim_start_matches("=_"),
        );
        let mut raw = head.into_bytes();
        raw.extend_from_slice(headers(&self.kept.raw));
        raw.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        raw
    }
}

/// The header section, whole lines of it only.
fn headers(raw: &[u8]) -> &[u8] {
    if raw.starts_with(b"\r\n") {
        return &[];
    }
    let end = memchr::memmem::find(raw, b"\r\n\r\n").map_or(raw.len(), |at| at + 2);
    if end <= HEADERS_OCTETS_MAX {
        return &raw[..end];
    }
    let cut = memchr::memrchr(b'\n', &raw[..HEADERS_OCTETS_MAX]).map_or(0, |at| at + 1);
    &raw[..cut]
}
