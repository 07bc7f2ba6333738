//! The receiver's side of the dialogue, without a socket: octets in, replies and the next step out.
//!
//! Strict in its order (RFC 5321 4.1.4), answers a pipelined group as a whole, and knows nothing of time: waiting is a
//! step that it asks for.

use std::sync::Arc;
use std::time::Duration;

use crate::command::{self, Command, Mail, Rcpt};
use crate::feedback::Feedback;
use crate::octets::{self, Body, Fed, Flaw, Line};
use crate::transaction::{Arrival, Asked, Transaction};
use crate::{Face, MESSAGE_OCTETS_MAX, RECIPIENTS_MAX, Replied, Script, Shared, Tries, reply};
use bytes::{Buf, BytesMut};

/// Commands that are none, or out of order, until the connection is closed: somebody is guessing.
const ERRORS_MAX: u32 = 20;

/// What the owner of the stream does next, once what was said is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read more.
    Read,
    /// Say `reply` after this time, then go on.
    Wait {
        /// How long.
        wait: Duration,
        /// What then.
        reply: &'static str,
    },
    /// Shake hands, then [`Dialogue::secured`].
    StartTls,
    /// Shake hands badly, then close.
    BreakTls,
    /// Close, so that what was said arrives.
    Close,
    /// Close as a crash would.
    Vanish,
}

/// One connection's dialogue.
pub(crate) struct Dialogue {
    shared: Arc<Shared>,
    face: Face,
    tls: Option<&'static str>,
    greeted: Option<Greeted>,
    transaction: Option<Transaction>,
    receiving: bool,
    body: Body,
    /// Octets of the body that are reserved with the sandbox.
    reserved: usize,
    errors: u32,
    reports: Vec<Feedback>,
}

struct Greeted {
    name: String,
    extended: bool,
}

impl Dialogue {
    /// A dialogue that has not begun.
    pub(crate) fn new(shared: Arc<Shared>, face: Face) -> Self {
        Self {
            shared,
            face,
            tls: None,
            greeted: None,
            transaction: None,
            receiving: false,
            body: Body::default(),
            reserved: 0,
            errors: 0,
            reports: Vec::new(),
        }
    }

    /// Says the banner, or what stands in its place.
    pub(crate) fn begin(&self, out: &mut Vec<u8>) -> Step {
        match self.face {
            Face::Normal | Face::NoStartTls | Face::TlsBroken => {
                say(out, &reply::banner(self.shared.hostname.as_str()));
                Step::Read
            }
            Face::Busy => {
                say(out, &reply::busy(self.shared.hostname.as_str()));
                Step::Close
            }
            Face::Dead => Step::Vanish,
        }
    }

    /// The handshake succeeded: all that was said before is forgotten (RFC 3207 4.2).
    pub(crate) fn secured(&mut self, version: &'static str) {
        self.tls = Some(version);
        self.greeted = None;
        self.transaction = None;
    }

    /// Whether a message's octets are awaited.
    pub(crate) fn is_receiving(&self) -> bool {
        self.receiving
    }

    /// Hands over the reports that are due, once what was said is written: acceptance comes first.
    pub(crate) fn hand_over_reports(&mut self) {
        for report in self.reports.drain(..) {
            self.shared.report(report);
        }
    }

    /// Takes all whole commands and body octets of `input`, and says all the replies.
    pub(crate) fn step(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Step {
        loop {
            let step = if self.receiving { self.receive(input, out) } else { self.next_command(input, out) };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn next_command(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Option<Step> {
        let octets = match octets::next_line(input) {
            Line::Unfinished => return Some(Step::Read),
            Line::Whole(octets) => octets,
            // Where the next command begins is anybody's guess now.
            Line::TooLong => return Some(close(out, reply::LINE_TOO_LONG)),
            Line::Stray => return Some(close(out, reply::STRAY)),
        };
        let command = command::parse(&input[..octets], &self.shared.hostname);
        input.advance(octets + 2);
        match command {
            Ok(command) => self.obey(command, input, out),
            Err(refusal) => self.fault(reply::refused(refusal), out),
        }
    }

    fn obey(&mut self, command: Command, input: &mut BytesMut, out: &mut Vec<u8>) -> Option<Step> {
        match command {
            Command::Ehlo(name) => {
                self.greet(Greeted { name, extended: true });
                let starttls = self.offers_tls().then_some("STARTTLS");
                say_lines(
                    out,
                    "250",
                    &reply::ehlo(self.shared.hostname.as_str(), self.shared.config.tries, starttls),
                );
            }
            Command::Helo(name) => {
                self.greet(Greeted { name, extended: false });
                say(out, &format!("250 {}", self.shared.hostname));
            }
            Command::StartTls => return self.start_tls(input, out),
            Command::Mail(mail) => return self.mail(mail, out),
            Command::Rcpt(rcpt) => return self.rcpt(rcpt, out),
            Command::Data => return self.data(out),
            Command::Rset => {
                self.transaction = None;
                say(out, reply::OK);
            }
            Command::Noop => say(out, reply::OK),
            Command::Vrfy => say(out, reply::VRFY),
            Command::Quit => return Some(close(out, reply::BYE)),
        }
        None
    }

    fn greet(&mut self, greeted: Greeted) {
        self.greeted = Some(greeted);
        self.transaction = None;
    }

    fn offers_tls(&self) -> bool {
        self.tls.is_none() && matches!(self.face, Face::Normal | Face::TlsBroken)
    }

    fn start_tls(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Option<Step> {
        if self.tls.is_some() {
            return self.fault(reply::TLS_ALREADY, out);
        }
        if !self.offers_tls() {
            return self.fault(reply::TLS_NOT_OFFERED, out);
        }
        // What came in clear behind STARTTLS must not be obeyed as if it had come over TLS.
        input.clear();
        say(out, reply::TLS_READY);
        Some(if self.face == Face::TlsBroken { Step::BreakTls } else { Step::StartTls })
    }

    fn mail(&mut self, mail: Mail, out: &mut Vec<u8>) -> Option<Step> {
        let Some(greeted) = &self.greeted else { return self.fault(reply::EHLO_FIRST, out) };
        if !greeted.extended && mail.parameters > 0 {
            return self.fault(reply::HELO_HAS_NO_PARAMETERS, out);
        }
        if self.transaction.is_some() {
            return self.fault(reply::NESTED_MAIL, out);
        }
        if mail.size > MESSAGE_OCTETS_MAX as u64 {
            say(out, reply::TOO_BIG);
            return None;
        }
        self.transaction = Some(Transaction::new(mail));
        say(out, reply::MAIL_OK);
        None
    }

    fn rcpt(&mut self, rcpt: Rcpt, out: &mut Vec<u8>) -> Option<Step> {
        let Some(transaction) = &mut self.transaction else { return self.fault(reply::MAIL_FIRST, out) };
        let Rcpt { to, ascii, tries } = rcpt;
        let tries = tries.filter(|_| self.shared.config.tries == Tries::Told);
        let asked = Asked { script: Script::of(&to), to, tries };
        let alone =
            transaction.is_taken_alone() || (asked.script.acts_at_dot() && !transaction.to.is_empty());
        let refusal = if !ascii && !transaction.smtputf8 {
            Some(reply::UTF8_NOT_ASKED_FOR.to_owned())
        } else if alone {
            Some(reply::ALONE.to_owned())
        } else if transaction.to.len() >= RECIPIENTS_MAX {
            Some(reply::TOO_MANY_RECIPIENTS.to_owned())
        } else {
            transaction.refusal(&self.shared, &asked)
        };
        let Some(refusal) = refusal else {
            transaction.to.push(asked);
            say(out, reply::RCPT_OK);
            return None;
        };
        transaction.refused += 1;
        say(out, &refusal);
        refusal.starts_with("421").then_some(Step::Close)
    }

    fn data(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        let Some(transaction) = &self.transaction else { return self.fault(reply::MAIL_FIRST, out) };
        if transaction.to.is_empty() {
            if transaction.refused == 0 {
                return self.fault(reply::RCPT_FIRST, out);
            }
            // A pipelined group whose recipients were all refused: no fault of the sender's.
            say(out, reply::NO_RECIPIENTS);
            return None;
        }
        self.receiving = true;
        say(out, reply::GO_AHEAD);
        None
    }

    fn receive(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Option<Step> {
        match self.body.feed(input) {
            Fed::More => {
                input.clear();
                self.account();
                Some(Step::Read)
            }
            Fed::Ended(octets) => {
                input.advance(octets);
                self.account();
                self.receiving = false;
                let step = self.dot(out);
                self.account();
                step
            }
        }
    }

    /// Brings what is reserved with the sandbox into line with what the body holds.
    fn account(&mut self) {
        let held = self.body.held();
        if held > self.reserved && !self.shared.reserve(held - self.reserved) {
            self.body.spoil(Flaw::NoRoom);
        }
        let held = self.body.held();
        if held < self.reserved {
            self.shared.release(self.reserved - held);
        }
        self.reserved = held;
    }

    fn dot(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        let raw = match self.body.take() {
            Ok(raw) => raw,
            Err(flaw) => {
                self.transaction = None;
                say(out, reply::flawed(flaw));
                return None;
            }
        };
        let transaction = self.transaction.take()?;
        let script = transaction.to.first().map_or(Script::Accept, |asked| asked.script);
        if script == Script::Spam {
            say(out, reply::SPAM);
            return None;
        }
        let lost = transaction.loses_its_reply(&self.shared);
        let replied = if lost { Replied::Lost } else { Replied::Accepted };
        self.keep(transaction, raw, replied);
        match script {
            _ if lost => Some(Step::Vanish),
            Script::Slow { wait } if !wait.is_zero() => Some(Step::Wait { wait, reply: reply::KEPT }),
            _ => {
                say(out, reply::KEPT);
                None
            }
        }
    }

    fn keep(&mut self, transaction: Transaction, raw: bytes::Bytes, reply: Replied) {
        let arrival = Arrival {
            helo: self.greeted.as_ref().map_or_else(String::new, |greeted| greeted.name.clone()),
            tls: self.tls,
            reply,
        };
        self.reports.extend(transaction.keep(&self.shared, arrival, raw));
    }

    /// Refuses what is no fault of a recipient or a message, and closes when that happens too often.
    fn fault(&mut self, refusal: &str, out: &mut Vec<u8>) -> Option<Step> {
        self.errors += 1;
        if self.errors > ERRORS_MAX {
            return Some(close(out, reply::TOO_MANY_ERRORS));
        }
        say(out, refusal);
        None
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        self.shared.release(self.reserved);
    }
}

fn say(out: &mut Vec<u8>, reply: &str) {
    out.extend_from_slice(reply.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn say_lines(out: &mut Vec<u8>, code: &str, lines: &[String]) {
    for (n, line) in lines.iter().enumerate() {
        let mark = if n + 1 == lines.len() { ' ' } else { '-' };
        say(out, &format!("{code}{mark}{line}"));
    }
}

fn close(out: &mut Vec<u8>, reply: &str) -> Step {
    say(out, reply);
    Step::Close
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Limits, Sandbox};

    #[test]
    fn a_pipelined_group_is_answered_in_one_go() {
        let config = Config {
            hostname: "mx.example".to_owned(),
            limits: Limits::default(),
            now: Arc::new(|| posthaste_mail::Timestamp(0)),
            tries: Tries::Counted,
            feedback: None,
        };
        let mut dialogue = Dialogue::new(Sandbox::new(config).unwrap().0, Face::Normal);
        let mut check = |input: &[u8], expected: &[&str]| {
            let (mut input, mut out) = (BytesMut::from(input), Vec::new());
            assert_eq!((dialogue.step(&mut input, &mut out), input.len()), (Step::Read, 0));
            let codes: Vec<&str> =
                std::str::from_utf8(&out).unwrap().lines().map(|line| &line[..3]).collect();
            assert_eq!(codes, expected);
        };
        check(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n", &["250", "250", "250", "354"]);
        check(
            b"x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bounce@b.example>\r\nDATA\r\nRSET\r\nNOOP\r\n",
            &["250", "250", "550", "554", "250", "250"],
        );
    }
}
