//! A delivery status notification that we write (RFC 3464, RFC 6522): `multipart/report` with words for people, fields for
//! programs, and the header of the message. Sent from the null path, so that it is answered by nobody; there is none
//! about a message that came from there itself.

use posthaste_mail::{Address, Domain, Enhanced, Reply, ReversePath, Timestamp};

use crate::report::DeliveryAction;

/// Octets of the message's header that go along; whole lines only.
const HEADER_OCTETS_MAX: usize = 16 * 1024;
/// Longest line of ours, in octets, without its end (RFC 5322 2.1.1).
const LINE_OCTETS_MAX: usize = 78;
/// Recipients told of in one notice: as many as a part of a message has, ten times over.
const NOTICE_RECIPIENTS_MAX: usize = 1_000;

/// What a notice is about.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// The message's envelope sender, who gets it.
    pub sender: &'a ReversePath,
    /// The host that gave up.
    pub host: &'a Domain,
    /// Derived from what it tells, so that a repeated one is the same: letters, digits, `-`, `_`.
    pub id: &'a str,
    /// When it is written.
    pub at: Timestamp,
    /// When the message was accepted.
    pub arrived: Timestamp,
    /// The message, or its header section.
    pub message: &'a [u8],
    /// What became of each recipient that there is something to tell about.
    pub recipients: &'a [Undelivered<'a>],
}

/// One recipient.
#[derive(Debug, Clone, Copy)]
pub struct Undelivered<'a> {
    /// The mailbox.
    pub address: &'a Address,
    /// What happened to it.
    pub action: DeliveryAction,
    /// The enhanced code where the reply has none.
    pub status: Enhanced,
    /// The host that answered.
    pub remote: Option<&'a str>,
    /// Its answer.
    pub reply: Option<&'a Reply>,
    /// What happened where no reply tells it, in a sentence.
    pub why: Option<&'a str>,
    /// When it was last tried.
    pub last_attempt: Option<Timestamp>,
}

impl Notice<'_> {
    /// The message, with CRLF at its lines' ends; none where there is nobody to tell (RFC 5321 4.5.5) or nothing to tell.
    pub fn write(&self) -> Option<Vec<u8>> {
        let to = self.sender.address()?;
        if self.recipients.is_empty() {
            return None;
        }
        let mut out = Writer::default();
        self.write_header(&mut out, to);
        let boundary = self.boundary();
        out.line(&format!("--{boundary}"));
        out.line("Content-Type: text/plain; charset=utf-8");
        out.line("Content-Transfer-Encoding: 8bit");
        out.line("");
        self.write_words(&mut out);
        out.line(&format!("--{boundary}"));
        // RFC 6533 for addresses that are not ASCII.
        out.line(if self.is_global() {
            "Content-Type: message/global-delivery-status"
        } else {
            "Content-Type: message/delivery-status"
        });
        out.line("");
        self.write_fields(&mut out);
        out.line(&format!("--{boundary}"));
        self.write_returned(&mut out);
        out.line(&format!("--{boundary}--"));
        Some(out.octets)
    }

    fn boundary(&self) -> String {
        format!("=_{}", self.id)
    }

    fn told(&self) -> impl Iterator<Item = &Undelivered<'_>> {
        self.recipients.iter().take(NOTICE_RECIPIENTS_MAX)
    }

    fn is_global(&self) -> bool {
        self.told().any(|recipient| recipient.address.needs_smtputf8())
    }

    fn is_delay(&self) -> bool {
        self.told().all(|recipient| recipient.action == DeliveryAction::Delayed)
    }

    fn write_header(&self, out: &mut Writer, to: &Address) {
        let subject = if self.is_delay() {
            "Delayed Mail (still being tried)"
        } else {
            "Undelivered Mail Returned to Sender"
        };
        out.line(&format!("From: Mail Delivery System <mailer-daemon@{}>", self.host));
        out.line(&format!("To: <{to}>"));
        out.line(&format!("Subject: {subject}"));
        out.line(&format!("Date: {}", self.at.rfc5322()));
        out.line(&format!("Message-ID: <{}@{}>", self.id, self.host));
        // RFC 3834 5: no machine answers this.
        out.line("Auto-Submitted: auto-replied");
        out.line("MIME-Version: 1.0");
        out.line("Content-Type: multipart/report; report-type=delivery-status;");
        out.line(&format!(" boundary=\"{}\"", self.boundary()));
        out.line("");
    }

    fn write_words(&self, out: &mut Writer) {
        out.line(&format!("This is the mail system at {}.", self.host));
        out.line("");
        out.line(if self.is_delay() {
            "Your message could not be delivered yet; it is still being tried. You need not\r\nsend it again."
        } else {
            "Your message could not be delivered to the recipients below."
        });
        for recipient in self.told() {
            out.line("");
            out.line(&format!("<{}>", recipient.address));
            for line in wrapped(&recipient.words(), LINE_OCTETS_MAX - 4) {
                out.line(&format!("    {line}"));
            }
        }
        out.line("");
    }

    fn write_fields(&self, out: &mut Writer) {
        out.line(&format!("Reporting-MTA: dns; {}", self.host));
        out.line(&format!("Arrival-Date: {}", self.arrived.rfc5322()));
        for recipient in self.told() {
            out.line("");
            let kind = if recipient.address.needs_smtputf8() { "utf-8" } else { "rfc822" };
            out.line(&format!("Final-Recipient: {kind}; {}", recipient.address));
            out.line(&format!("Action: {}", recipient.action.as_str()));
            out.line(&format!("Status: {}", recipient.code()));
            if let Some(remote) = recipient.remote {
                out.line(&format!("Remote-MTA: dns; {}", flat(remote)));
            }
            if let Some(reply) = recipient.reply {
                // RFC 3464 2.3.6: a field of a delivery status is ASCII.
                let text: String =
                    flat(&reply.to_string()).chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
                for line in folded(&format!("Diagnostic-Code: smtp; {text}")) {
                    out.line(&line);
                }
            }
            if let Some(at) = recipient.last_attempt {
                out.line(&format!("Last-Attempt-Date: {}", at.rfc5322()));
            }
        }
        out.line("");
    }

    fn write_returned(&self, out: &mut Writer) {
        let header = header(self.message);
        out.line(if header.is_ascii() {
            "Content-Type: text/rfc822-headers"
        } else {
            "Content-Type: message/global-headers"
        });
        if !header.is_ascii() {
            out.line("Content-Transfer-Encoding: 8bit");
        }
        out.line("");
        out.octets.extend_from_slice(header);
        out.line("");
    }
}

impl Undelivered<'_> {
    fn code(&self) -> Enhanced {
        self.reply.and_then(|reply| reply.enhanced).unwrap_or(self.status)
    }

    fn words(&self) -> String {
        match (self.remote, self.reply, self.why) {
            (Some(host), Some(reply), _) => format!("{} said: {}", flat(host), flat(&reply.to_string())),
            (None, Some(reply), _) => flat(&reply.to_string()),
            (_, None, Some(why)) => flat(why),
            (_, None, None) => "no reason is known".to_owned(),
        }
    }
}

#[derive(Default)]
struct Writer {
    octets: Vec<u8>,
}

impl Writer {
    fn line(&mut self, text: &str) {
        self.octets.extend_from_slice(text.as_bytes());
        self.octets.extend_from_slice(b"\r\n");
    }
}

/// What a peer said, on one line and without controls.
fn flat(text: &str) -> String {
    crate::bound::tidy(text, crate::bound::DIAGNOSTIC_OCTETS_MAX)
}

/// Words on lines of a length; a word that is longer has a line of its own.
fn wrapped(text: &str, octets_max: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= octets_max => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A field on lines that continue it.
fn folded(field: &str) -> Vec<String> {
    let lines = wrapped(field, LINE_OCTETS_MAX);
    lines.into_iter().enumerate().map(|(n, line)| if n == 0 { line } else { format!(" {line}") }).collect()
}

/// The header section of a message, as many whole lines of it as there is room for.
fn header(message: &[u8]) -> &[u8] {
    let end = message.windows(4).position(|octets| octets == b"\r\n\r\n").map_or(message.len(), |at| at + 2);
    let section = &message[..end];
    if section.len() <= HEADER_OCTETS_MAX {
        return section;
    }
    let cut =
        section[..HEADER_OCTETS_MAX].windows(2).rposition(|octets| octets == b"\r\n").map_or(0, |at| at + 2);
    &section[..cut]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Report, read};

    fn notice<'a>(
        sender: &'a ReversePath,
        host: &'a Domain,
        message: &'a [u8],
        recipients: &'a [Undelivered<'a>],
    ) -> Notice<'a> {
        Notice { sender, host, id: "dsn-1", at: Timestamp(0), arrived: Timestamp(0), message, recipients }
    }

    const STATUS: Enhanced = Enhanced { class: 5, subject: 4, detail: 7 };

    fn undelivered<'a>(address: &'a Address, reply: Option<&'a Reply>) -> Undelivered<'a> {
        Undelivered {
            address,
            action: DeliveryAction::Failed,
            status: STATUS,
            remote: Some("mx.example.net"),
            reply,
            why: Some("it was tried for four days"),
            last_attempt: Some(Timestamp(0)),
        }
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let sender = ReversePath::Address(Address::parse("hello@acme.example").unwrap());
        let host = Domain::parse("mta.acme.example").unwrap();
        let (ann, bob) =
            (Address::parse("ann@example.net").unwrap(), Address::parse("bob@example.net").unwrap());
        let reply = Reply::parse("550-5.1.1 no such user\n550 5.1.1 \u{1b}[2J here, said Jürgen").unwrap();
        let recipients = [undelivered(&ann, Some(&reply)), undelivered(&bob, None)];
        let message = b"Message-ID: <1@acme.example>\r\nSubject: hi\r\n\r\nbody --=_dsn-1";
        let raw = notice(&sender, &host, message, &recipients).write().unwrap();
        let text = String::from_utf8(raw.clone()).unwrap();
        assert!(!text.contains("body"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 998 && !line.contains('\u{1b}')));
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        let Report::Dsn(dsn) = read(&raw) else { panic!("{text}") };
        assert_eq!(dsn.original_message_id.as_deref(), Some("1@acme.example"));
        let told: Vec<String> = dsn
            .recipients
            .iter()
            .map(|r| {
                format!("{} {:?} {} {}", r.address, r.action, r.status.as_deref().unwrap_or("-"), r.category)
            })
            .collect();
        assert_eq!(
            told,
            ["ann@example.net Failed 5.1.1 bad-mailbox", "bob@example.net Failed 5.4.7 network"]
        );
    }

    #[test]
    fn nobody_is_told_of_what_nobody_sent() {
        let host = Domain::parse("mta.acme.example").unwrap();
        let ann = Address::parse("ann@example.net").unwrap();
        let recipients = [undelivered(&ann, None)];
        assert_eq!(notice(&ReversePath::Null, &host, b"", &recipients).write(), None);
        let sender = ReversePath::Address(ann.clone());
        assert_eq!(notice(&sender, &host, b"", &[]).write(), None);
    }

    #[test]
    fn long_headers_end_with_a_whole_line() {
        let message = "X: 12345678\r\n".repeat(2_000) + "\r\nbody";
        let kept = header(message.as_bytes());
        assert!(kept.len() <= HEADER_OCTETS_MAX && kept.ends_with(b"\r\n"));
        assert_eq!(header(b"A: b\r\n\r\nbody"), b"A: b\r\n");
        assert_eq!(header(b"A: b"), b"A: b");
    }
}
