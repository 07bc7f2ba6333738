//! One transaction: MAIL, RCPT…, DATA, the message, its reply. Each recipient's outcome is decided once and stands.
//!
//! With PIPELINING the whole envelope goes out in one piece (RFC 2920), up to a bound that keeps either side from
//! blocking on the other; without it one command at a time.

use bytes::BytesMut;
use posthaste_mail::{Enhanced, Reply, Stage};

use super::garbage;
use super::pipelining::{Command, InFlight, Pace};
use super::plan::{Plan, plan};
use super::terms::{Action, Answered, Dot, Finished, Owed, Rset, Terms, TimeLeft, Turn};
use crate::wire::command::MailParameters;
use crate::wire::{Answer, command};
use crate::{Loss, Manner, Outcome, Transaction, WhyUnsent};

/// What is to be sent next; a number counts the recipients to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Mail,
    Rcpt(usize),
    Data,
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mail {
    Unanswered,
    Accepted,
    Refused,
    /// With a reply that is about a parameter: once more without the optional ones.
    ParametersRefused(Reply),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Envelope,
    /// 354 for nobody: a message without lines ends it.
    LoneDot,
    Message,
    Dot,
    Over,
}

pub(crate) struct Exchange<'a> {
    tx: &'a Transaction,
    turn: Turn,
    manner: Manner,
    ask: Vec<usize>,
    outcomes: Vec<Option<Outcome>>,
    parameters: MailParameters,
    accepted: Vec<usize>,
    in_flight: InFlight,
    next: Next,
    mail: Mail,
    phase: Phase,
    stage: Stage,
    go_ahead: bool,
    /// Without the optional parameters after all.
    plainer: bool,
    heard: bool,
    closed: Option<Option<Reply>>,
    rset: Rset,
    answered: Answered,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(tx: &'a Transaction, terms: &Terms<'_>) -> Self {
        let Plan { ask, outcomes, parameters } = plan(tx, terms.offer, terms.manner, terms.domains_seen);
        let together = terms.offer.pipelining && terms.manner == Manner::Full;
        let mut in_flight =
            InFlight::new(if together { Pace::Together } else { Pace::OneByOne }, ask.len() + 3);
        let mut rset = Rset::NotNeeded;
        if terms.owed == Owed::Rset {
            in_flight.push(Command::Rset, 0);
            rset = Rset::StillOwed;
        }
        Self {
            tx,
            turn: terms.turn,
            manner: terms.manner,
            phase: if ask.is_empty() { Phase::Over } else { Phase::Envelope },
            accepted: Vec::with_capacity(ask.len()),
            ask,
            outcomes,
            parameters,
            in_flight,
            next: Next::Mail,
            mail: Mail::Unanswered,
            stage: Stage::Mail,
            go_ahead: false,
            plainer: false,
            heard: false,
            closed: None,
            rset,
            answered: Answered::No,
        }
    }

    /// Appends what may be sent now and says what to do then.
    pub(crate) fn next(&mut self, out: &mut BytesMut, left: TimeLeft) -> Action {
        match self.phase {
            Phase::Envelope => self.envelope(out, left),
            Phase::LoneDot | Phase::Dot => Action::Await(Stage::Dot),
            Phase::Message => Action::Message,
            Phase::Over => Action::Finish,
        }
    }

    /// A complete reply came to what was waited for.
    pub(crate) fn replied(&mut self, answer: &Answer) {
        match self.phase {
            Phase::Envelope => self.envelope_replied(answer),
            Phase::LoneDot if answer.code == 421 => self.close(Some(answer.reply())),
            Phase::LoneDot => self.reset(),
            Phase::Dot => self.dot_replied(answer),
            Phase::Message => self.message_interrupted(answer, Dot::NotBegun),
            Phase::Over => self.close(None),
        }
    }

    /// The peer went away, or took too long, or spoke no SMTP.
    pub(crate) fn lost(&mut self, how: Loss) {
        let gone = matches!(how, Loss::Closed | Loss::WriteFailed(_));
        match (self.phase, self.mail.clone()) {
            (Phase::Envelope, _) if self.turn == Turn::Later && !self.heard && gone => {
                return self.use_up(None);
            }
            (Phase::Envelope, Mail::ParametersRefused(reply)) => {
                self.conclude(&Outcome::Refused { stage: Stage::Mail, reply });
            }
            (Phase::Dot, _) => self.conclude(&Outcome::Ambiguous { how }),
            (Phase::Envelope | Phase::LoneDot | Phase::Message | Phase::Over, _) => {
                self.conclude(&Outcome::Lost { stage: self.stage, how });
            }
        }
        self.close(None);
    }

    /// A reply came to nothing: a 421 before the peer closes, or its replies and our commands no longer match.
    pub(crate) fn unasked(&mut self, answer: &Answer) {
        match (self.phase, self.turn) {
            (Phase::Message, _) => self.message_interrupted(answer, Dot::NotBegun),
            (_, Turn::Later) => self.use_up(Some(answer.reply()).filter(Reply::closes)),
            (_, Turn::First) if answer.code == 421 => self.refuse_and_close(Stage::Mail, answer.reply()),
            (_, Turn::First) => self.lost(garbage(answer)),
        }
    }

    /// Whether nothing more is to be done.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The caller's deadline passed while waiting.
    pub(crate) fn deadline_passed(&mut self) {
        match self.phase {
            Phase::Dot => self.lost(Loss::TimedOut),
            Phase::Envelope | Phase::LoneDot | Phase::Message | Phase::Over => {
                self.abandon(WhyUnsent::DeadlineTooNear);
            }
        }
    }

    /// Nothing of the final dot left, by our own decision; the peer waits for a message, so the connection goes.
    pub(crate) fn abandon(&mut self, why: WhyUnsent) {
        self.conclude(&Outcome::Unsent { why });
        self.close(None);
    }

    /// The message and its final dot are written.
    pub(crate) fn message_written(&mut self) {
        self.stage = Stage::Dot;
        self.phase = Phase::Dot;
    }

    /// The peer replied before it had the whole message: a refusal is the verdict, anything else makes no sense.
    pub(crate) fn message_interrupted(&mut self, answer: &Answer, dot: Dot) {
        if matches!(answer.class(), 4 | 5) {
            self.refuse_and_close(Stage::Body, answer.reply());
        } else {
            self.message_lost(garbage(answer), dot);
        }
    }

    /// The peer went away before it had the whole message, and left no reply behind.
    pub(crate) fn message_lost(&mut self, how: Loss, dot: Dot) {
        self.stage = Stage::Body;
        match dot {
            Dot::NotBegun => self.conclude(&Outcome::Lost { stage: Stage::Body, how }),
            Dot::Begun => self.conclude(&Outcome::Ambiguous { how }),
        }
        self.close(None);
    }

    pub(crate) fn finish(self) -> Finished {
        let missing = Outcome::Lost { stage: self.stage, how: Loss::Closed };
        Finished {
            recipients: self.outcomes.into_iter().map(|o| o.unwrap_or_else(|| missing.clone())).collect(),
            closed: self.closed,
            rset: self.rset,
            manner: self.manner,
            asked: self.ask,
            answered: self.answered,
        }
    }

    fn envelope(&mut self, out: &mut BytesMut, left: TimeLeft) -> Action {
        if self.next == Next::Mail && left == TimeLeft::TooLittle {
            self.conclude(&Outcome::Unsent { why: WhyUnsent::DeadlineTooNear });
            self.phase = Phase::Over;
            return Action::Finish;
        }
        self.fill(out, left);
        if let Some(stage) = self.in_flight.stage() {
            self.stage = stage;
            return Action::Await(self.stage);
        }
        if self.go_ahead && !self.accepted.is_empty() {
            self.stage = Stage::Body;
            self.phase = Phase::Message;
            return Action::Message;
        }
        if self.go_ahead {
            command::lone_dot(out);
            self.phase = Phase::LoneDot;
            return Action::Await(Stage::Dot);
        }
        if matches!(self.mail, Mail::ParametersRefused(_)) {
            self.parameters =
                MailParameters { smtputf8: self.parameters.smtputf8, ..MailParameters::default() };
            self.plainer = true;
            self.mail = Mail::Unanswered;
            self.next = Next::Mail;
            return self.envelope(out, left);
        }
        // Nobody is left to send to, or no time to do it in.
        self.conclude(&Outcome::Unsent { why: WhyUnsent::DeadlineTooNear });
        self.reset();
        Action::Finish
    }

    fn fill(&mut self, out: &mut BytesMut, left: TimeLeft) {
        while self.next != Next::Nothing && self.in_flight.may_send() {
            let before = out.len();
            let command = match self.next {
                Next::Mail => {
                    command::mail(out, &self.tx.mail_from, self.parameters, self.tx.xid.as_deref());
                    self.next = Next::Rcpt(0);
                    Command::Mail
                }
                Next::Rcpt(n) if n < self.ask.len() && !self.mail_failed() => {
                    let index = self.ask[n];
                    let tries = self.tx.tries.get(index).copied().filter(|_| self.parameters.xtry);
                    command::rcpt(out, &self.tx.recipients[index], tries);
                    self.next = Next::Rcpt(n + 1);
                    Command::Rcpt(index)
                }
                Next::Rcpt(_) => {
                    self.next = Next::Data;
                    continue;
                }
                Next::Data | Next::Nothing => {
                    self.next = Next::Nothing;
                    if left == TimeLeft::TooLittle || !self.has_hope() {
                        return;
                    }
                    command::data(out);
                    Command::Data
                }
            };
            self.in_flight.push(command, out.len() - before);
        }
    }

    fn mail_failed(&self) -> bool {
        matches!(self.mail, Mail::Refused | Mail::ParametersRefused(_))
    }

    /// Whether DATA can still serve somebody.
    fn has_hope(&self) -> bool {
        !self.mail_failed() && (self.in_flight.has_rcpt() || !self.accepted.is_empty())
    }

    fn envelope_replied(&mut self, answer: &Answer) {
        let Some(command) = self.in_flight.answered() else {
            return self.lost(garbage(answer));
        };
        let first = !std::mem::replace(&mut self.heard, true);
        let used_up = first && self.turn == Turn::Later && (answer.code == 421 || command == Command::Rset);
        if command == Command::Rset {
            self.rset = Rset::NotNeeded;
        }
        match (command, answer.class()) {
            (Command::Rset, 2) => self.heard = false,
            _ if used_up => self.use_up(Some(answer.reply())),
            _ if answer.code == 421 => self.refuse_and_close(command.stage(), answer.reply()),
            (Command::Mail, 2) => {
                self.mail = Mail::Accepted;
                if self.plainer {
                    self.manner = Manner::Plain;
                }
            }
            (Command::Mail, 4 | 5) => self.mail_refused(answer),
            (Command::Rcpt(_), 2 | 4 | 5) if self.mail_failed() => {}
            (Command::Rcpt(index), 2) => self.accepted.push(index),
            (Command::Rcpt(index), 4 | 5) => self.rcpt_refused(index, answer.reply()),
            (Command::Data, 3) if answer.code == 354 => self.go_ahead = true,
            (Command::Data, 4 | 5) => {
                let outcome = Outcome::Refused { stage: Stage::Data, reply: answer.reply() };
                for index in self.accepted.drain(..) {
                    self.outcomes[index] = Some(outcome.clone());
                }
            }
            _ => {
                self.stage = command.stage();
                self.lost(garbage(answer));
            }
        }
    }

    fn mail_refused(&mut self, answer: &Answer) {
        let reply = answer.reply();
        let optional = MailParameters { smtputf8: false, ..self.parameters } != MailParameters::default();
        if optional && matches!(answer.code, 501 | 555) {
            self.mail = Mail::ParametersRefused(reply);
        } else {
            self.mail = Mail::Refused;
            self.conclude(&Outcome::Refused { stage: Stage::Mail, reply });
        }
    }

    fn rcpt_refused(&mut self, index: usize, reply: Reply) {
        if !is_too_many(&reply) {
            self.outcomes[index] = Some(Outcome::Refused { stage: Stage::Rcpt, reply });
            return;
        }
        self.outcomes[index] = Some(Outcome::NextTransaction { reply: Some(reply) });
        if let Next::Rcpt(n) = self.next {
            for index in &self.ask[n..] {
                self.outcomes[*index] = Some(Outcome::NextTransaction { reply: None });
            }
            self.next = Next::Data;
        }
    }

    fn dot_replied(&mut self, answer: &Answer) {
        let reply = answer.reply();
        let outcome = match answer.class() {
            2 => Outcome::Delivered { reply: reply.clone() },
            4 | 5 => Outcome::Refused { stage: Stage::Dot, reply: reply.clone() },
            _ => return self.lost(garbage(answer)),
        };
        self.answered = Answered::FinalReply;
        self.conclude(&outcome);
        if reply.closes() {
            self.close(Some(reply));
        } else {
            self.phase = Phase::Over;
        }
    }

    /// Gives `outcome` to all that have none yet.
    fn conclude(&mut self, outcome: &Outcome) {
        for open in self.outcomes.iter_mut().filter(|o| o.is_none()) {
            *open = Some(outcome.clone());
        }
        self.accepted.clear();
    }

    /// The transaction is over without a final reply, and the peer is to forget it.
    fn reset(&mut self) {
        if let Mail::ParametersRefused(reply) = self.mail.clone() {
            self.conclude(&Outcome::Refused { stage: Stage::Mail, reply });
        }
        self.rset = Rset::Due;
        self.phase = Phase::Over;
    }

    fn use_up(&mut self, reply: Option<Reply>) {
        self.conclude(&Outcome::Reconnect { reply: reply.clone() });
        self.close(reply);
    }

    fn refuse_and_close(&mut self, stage: Stage, reply: Reply) {
        self.conclude(&Outcome::Refused { stage, reply: reply.clone() });
        self.close(Some(reply));
    }

    fn close(&mut self, last: Option<Reply>) {
        self.closed = Some(last);
        self.phase = Phase::Over;
    }
}

/// 452 or 552 x.5.3 (RFC 5321 4.5.3.1.10), or the same in words where no enhanced code is given.
fn is_too_many(reply: &Reply) -> bool {
    let said = match reply.enhanced {
        Some(Enhanced { subject: 5, detail: 3, .. }) => true,
        Some(_) => false,
        None => reply.text.to_ascii_lowercase().contains("too many recipients"),
    };
    said && matches!(reply.code, 452 | 552)
}
