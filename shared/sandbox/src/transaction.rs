//! One transaction: who sends to whom, what the recipients' scripts make of it, and what is left when it is kept.

use bytes::Bytes;
use posthaste_mail::{Address, ReversePath};

use crate::command::Mail;
use crate::feedback::{self, Feedback, FeedbackKind};
use crate::store::Kept;
use crate::{Replied, Script, Shared, reply};

/// From MAIL to the dot.
pub(crate) struct Transaction {
    from: ReversePath,
    pub(crate) smtputf8: bool,
    xid: Option<String>,
    token: Option<String>,
    /// The recipients that were accepted.
    pub(crate) to: Vec<Asked>,
    /// How many were refused.
    pub(crate) refused: usize,
}

/// One recipient that was asked for.
pub(crate) struct Asked {
    pub(crate) to: Address,
    pub(crate) script: Script,
    /// How often before, if that was said and is believed.
    pub(crate) tries: Option<u32>,
}

/// How a message arrived, apart from its envelope.
pub(crate) struct Arrival {
    pub(crate) helo: String,
    pub(crate) tls: Option<&'static str>,
    pub(crate) reply: Replied,
}

impl Transaction {
    pub(crate) fn new(mail: Mail) -> Self {
        let Mail { from, smtputf8, xid, token, .. } = mail;
        Self { from, smtputf8, xid, token, to: Vec::new(), refused: 0 }
    }

    /// What counters know the message by.
    fn key(&self) -> String {
        self.xid.as_ref().map_or_else(|| format!("from {}", self.from), |xid| format!("xid {xid}"))
    }

    /// Whether one recipient's script answers for the whole message.
    pub(crate) fn is_taken_alone(&self) -> bool {
        self.to.first().is_some_and(|asked| asked.script.acts_at_dot())
    }

    /// What a recipient's script says at RCPT, if it refuses there; scripts that count are counted here.
    pub(crate) fn refusal(&self, shared: &Shared, asked: &Asked) -> Option<String> {
        if let Script::Defer { times } | Script::Throttle { times } = asked.script
            && !self.is_below(shared, asked, times)
        {
            return None;
        }
        reply::rcpt_refused(asked.script, &asked.to)
    }

    /// Whether this happened fewer than `times` times before, as was said or counted.
    fn is_below(&self, shared: &Shared, asked: &Asked, times: u32) -> bool {
        match asked.tries {
            Some(tries) => tries < times,
            None => shared.store().count_below(&self.key(), &asked.to, times),
        }
    }

    /// Whether `drop@` takes its turn at this dot; it has one a message.
    pub(crate) fn loses_its_reply(&self, shared: &Shared) -> bool {
        match self.to.first() {
            Some(asked) if asked.script == Script::Drop => self.is_below(shared, asked, 1),
            _ => false,
        }
    }

    /// Keeps the message, and returns the reports that are to come back.
    pub(crate) fn keep(self, shared: &Shared, arrival: Arrival, raw: Bytes) -> Vec<Feedback> {
        if self.xid.is_none() && arrival.reply == Replied::Accepted {
            self.forget_counters(shared);
        }
        let reporting: Vec<(FeedbackKind, Address)> =
            self.to.iter().filter_map(|asked| Some((report_of(asked.script)?, asked.to.clone()))).collect();
        let (token, Arrival { helo, tls, reply }) = (self.token, arrival);
        let kept = Kept {
            number: 0,
            received_at: shared.now(),
            helo,
            tls,
            mail_from: self.from,
            rcpt_to: self.to.into_iter().map(|asked| asked.to).collect(),
            xid: self.xid,
            reply,
            raw,
        };
        if reporting.is_empty() {
            shared.store().keep(kept, &shared.config.limits);
            return Vec::new();
        }
        let number = shared.store().keep(kept.clone(), &shared.config.limits);
        let (id, host) = (shared.id(number), &shared.hostname);
        let report = |(kind, to): &(FeedbackKind, Address)| {
            let report = feedback::report(*kind, to, &kept, &id, host)?;
            Some(Feedback { token: token.clone(), ..report })
        };
        reporting.iter().filter_map(report).collect()
    }

    /// A message without an id of its own may be followed by another from the same sender: its scripts start anew.
    fn forget_counters(&self, shared: &Shared) {
        for Asked { to, script, .. } in &self.to {
            if matches!(script, Script::Defer { .. } | Script::Throttle { .. } | Script::Drop) {
                shared.store().forget(&self.key(), to);
            }
        }
    }
}

fn report_of(script: Script) -> Option<FeedbackKind> {
    match script {
        Script::Complaint => Some(FeedbackKind::Complaint),
        Script::LateBounce => Some(FeedbackKind::LateBounce),
        Script::Accept
        | Script::Bounce
        | Script::Defer { .. }
        | Script::MailboxFull
        | Script::Blocked
        | Script::Unauthenticated
        | Script::Throttle { .. }
        | Script::Spam
        | Script::Slow { .. }
        | Script::Drop => None,
    }
}
