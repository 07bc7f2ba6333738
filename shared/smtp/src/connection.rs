//! One connection and the transactions on it: the exchange's decisions carried out, their time bounded.

use std::time::Duration;

use posthaste_mail::{Domain, Stage};
use tokio::time::Instant;

use crate::channel::{Channel, Overheard, Sent, Stop, Wait};
use crate::dialogue::exchange::Exchange;
use crate::dialogue::opening::Opening;
use crate::dialogue::terms::{Action, Answered, Finished, Owed, Rset, Terms, TimeLeft, Turn};
use crate::wire::{command, stuffing};
use crate::{
    After, Capabilities, Habits, Loss, Manner, Outcome, Peer, Proceed, Report, Timeouts, TlsFacts,
    Transaction, WhyUnsent,
};

/// How long the parts of an opening took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenTimes {
    /// To be connected, TCP alone.
    pub connect: Duration,
    /// The TLS handshake; `None` in clear.
    pub handshake: Option<Duration>,
}

/// An open, greeted, perhaps encrypted and authenticated connection.
#[derive(Debug)]
pub struct Connection {
    peer: Peer,
    timeouts: Timeouts,
    channel: Channel,
    capabilities: Capabilities,
    tls: Option<TlsFacts>,
    habits: Habits,
    /// Transactions in which something was asked.
    begun: u32,
    completed: u32,
    owed: Owed,
    closed: bool,
    /// Recipient domains that were asked for; kept only where the peer limits them.
    domains: Vec<Domain>,
    idle_since: Instant,
    pub(crate) times: OpenTimes,
}

/// How long one reply may take.
pub(crate) fn stage_time(stage: Stage, timeouts: &Timeouts) -> Duration {
    match stage {
        Stage::Route | Stage::Connect => timeouts.connect,
        Stage::Banner => timeouts.banner,
        Stage::Ehlo | Stage::Auth => timeouts.ehlo,
        Stage::Tls => timeouts.tls,
        Stage::Mail => timeouts.mail,
        Stage::Rcpt => timeouts.rcpt,
        Stage::Data => timeouts.data,
        Stage::Body => timeouts.block,
        // Nothing is waited for after the dot.
        Stage::Dot | Stage::Report => timeouts.dot,
    }
}

impl Connection {
    /// After everything that comes before MAIL.
    pub(crate) fn opened(
        peer: &Peer,
        timeouts: &Timeouts,
        channel: Channel,
        opening: Opening<'_>,
        tls: Option<TlsFacts>,
    ) -> Self {
        Self {
            peer: peer.clone(),
            timeouts: *timeouts,
            channel,
            capabilities: opening.capabilities,
            tls,
            habits: opening.habits,
            begun: 0,
            completed: 0,
            owed: Owed::Nothing,
            closed: false,
            domains: Vec::new(),
            idle_since: Instant::now(),
            times: OpenTimes::default(),
        }
    }

    pub(crate) fn connected_in(mut self, took: Duration) -> Self {
        self.times.connect = took;
        self
    }

    /// Whom it leads to.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What the peer offers, as of the last EHLO.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What TLS gave; `None` in clear.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    /// What is worth remembering of this host: the session's habits and what was learned since.
    pub fn habits(&self) -> Habits {
        self.habits
    }

    /// How long it took to open.
    pub fn times(&self) -> OpenTimes {
        self.times
    }

    /// Transactions whose final reply came, whatever it said.
    pub fn completed(&self) -> u32 {
        self.completed
    }

    /// Since when nothing was asked of it.
    pub fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Sends one message. `before_dot` is awaited only when the peer is ready for the message (354) and before its
    /// first octet: there the caller marks the dot durably and checks its lease; `std::future::ready(Proceed::Send)`
    /// costs nothing.
    ///
    /// Nothing is asked, and nothing of the message sent, unless `deadline` leaves [`Timeouts::dot_least`] for the
    /// final reply. If this future is dropped midway, what became of the message is unknown; drop the connection too.
    pub async fn transact(
        &mut self,
        tx: &Transaction,
        deadline: Instant,
        before_dot: impl Future<Output = Proceed> + Send,
    ) -> Report {
        let trips_before = self.channel.round_trips;
        if self.closed || self.is_spent() {
            return self.used_up(tx);
        }
        let terms = Terms {
            offer: &self.capabilities,
            manner: self.habits.manner,
            turn: if self.begun == 0 { Turn::First } else { Turn::Later },
            owed: self.owed,
            domains_seen: &self.domains,
        };
        let mut exchange = Exchange::new(tx, &terms);
        if self.owed == Owed::Nothing {
            self.heed_unasked(&mut exchange).await;
        }
        // Until the end says otherwise: a caller that drops this future midway must not use the connection again.
        self.closed = true;
        let mut before_dot = Some(before_dot);
        let mut dot_at = None;
        loop {
            let left = self.time_left(deadline);
            match exchange.next(&mut self.channel.out, left) {
                Action::Await(stage) => {
                    let wait = Wait { at_most: stage_time(stage, &self.timeouts), deadline };
                    match self.channel.answer(wait).await {
                        Ok(answer) => exchange.replied(&answer),
                        Err(Stop::Lost(how)) => exchange.lost(how),
                        Err(Stop::Deadline) => exchange.deadline_passed(),
                    }
                }
                Action::Message => {
                    let proceed = match before_dot.take() {
                        Some(ask) => ask.await,
                        None => Proceed::Withhold,
                    };
                    dot_at = self.message(&mut exchange, tx, proceed, deadline).await;
                }
                Action::Finish => break,
            }
        }
        let (recipients, connection) = self.conclude(tx, exchange.finish(), deadline).await;
        let round_trips = self.channel.round_trips - trips_before;
        Report { recipients, connection, dot_at, round_trips }
    }

    /// Says goodbye without waiting for the answer.
    pub async fn quit(mut self) {
        if !self.closed {
            if self.owed == Owed::Rset && !self.is_pipelining() {
                let wait =
                    Wait { at_most: self.timeouts.quit, deadline: Instant::now() + self.timeouts.quit };
                // One command at a time; what the peer says to it does not matter any more.
                let _ = self.channel.answer(wait).await;
            }
            command::quit(&mut self.channel.out);
            self.channel.part(self.timeouts.quit).await;
        }
    }

    async fn message(
        &mut self,
        exchange: &mut Exchange<'_>,
        tx: &Transaction,
        proceed: Proceed,
        deadline: Instant,
    ) -> Option<Instant> {
        if proceed == Proceed::Withhold {
            exchange.abandon(WhyUnsent::Withheld);
            return None;
        }
        if self.time_left(deadline) == TimeLeft::TooLittle {
            exchange.abandon(WhyUnsent::DeadlineTooNear);
            return None;
        }
        self.heed_unasked(exchange).await;
        if exchange.is_over() {
            return None;
        }
        let latest = deadline.checked_sub(self.timeouts.dot_least).unwrap_or(deadline);
        let message = stuffing::stuffed(&tx.prefix, &tx.body);
        match self.channel.write_message(message, self.timeouts.block, latest).await {
            Sent::Whole => {
                exchange.message_written();
                return Some(Instant::now());
            }
            Sent::Answered(answer, dot) => exchange.message_interrupted(&answer, dot),
            Sent::Lost(how, dot) => exchange.message_lost(how, dot),
            Sent::Late => exchange.abandon(WhyUnsent::DeadlineTooNear),
        }
        None
    }

    async fn conclude(
        &mut self,
        tx: &Transaction,
        finished: Finished,
        deadline: Instant,
    ) -> (Vec<Outcome>, After) {
        if !finished.asked.is_empty() {
            self.begun += 1;
            self.remember_domains(tx, &finished.asked);
        }
        if finished.answered == Answered::FinalReply {
            self.completed += 1;
        }
        self.habits.manner = finished.manner;
        self.idle_since = Instant::now();
        if let Some(last) = finished.closed {
            self.channel.cut();
            return (finished.recipients, After::Closed { last });
        }
        if !self.channel.replies.is_empty() && finished.rset != Rset::StillOwed {
            // A reply to nothing: a 421, or we and the peer no longer speak of the same thing.
            let last = self.channel.replies.next().ok().flatten().map(|answer| answer.reply());
            self.channel.cut();
            return (finished.recipients, After::Closed { last });
        }
        self.owed = match finished.rset {
            Rset::NotNeeded => Owed::Nothing,
            Rset::StillOwed => Owed::Rset,
            Rset::Due => {
                command::rset(&mut self.channel.out);
                let wait = Wait { at_most: self.timeouts.mail, deadline };
                self.channel.write_soon(wait).await;
                Owed::Rset
            }
        };
        self.closed = false;
        (finished.recipients, if self.is_spent() { After::Spent } else { After::Reusable })
    }

    fn remember_domains(&mut self, tx: &Transaction, asked: &[usize]) {
        if self.capabilities.limits.rcpt_domain_max.is_none() {
            return;
        }
        for domain in asked.iter().map(|index| tx.recipients[*index].domain()) {
            if !self.domains.contains(domain) {
                self.domains.push(domain.clone());
            }
        }
    }

    /// Takes in what the peer did while nothing was asked of it. Also before the message: a reply too many would be
    /// taken for that to the next command, and so on.
    async fn heed_unasked(&mut self, exchange: &mut Exchange<'_>) {
        match self.channel.overhear().await {
            Overheard::Nothing => {}
            Overheard::Ended => exchange.lost(Loss::Closed),
            Overheard::Something => match self.channel.replies.next() {
                Ok(Some(answer)) => exchange.unasked(&answer),
                Ok(None) => exchange.lost(Loss::Garbage("half a reply to nothing".to_owned())),
                Err(text) => exchange.lost(Loss::Garbage(text)),
            },
        }
    }

    fn used_up(&mut self, tx: &Transaction) -> Report {
        let connection = if self.closed { After::Closed { last: None } } else { After::Spent };
        let outcome = Outcome::Reconnect { reply: None };
        Report { recipients: vec![outcome; tx.recipients.len()], connection, dot_at: None, round_trips: 0 }
    }

    fn is_pipelining(&self) -> bool {
        self.capabilities.pipelining && self.habits.manner == Manner::Full
    }

    fn is_spent(&self) -> bool {
        self.capabilities.limits.mail_max.is_some_and(|max| self.begun >= max)
    }

    fn time_left(&self, deadline: Instant) -> TimeLeft {
        let left = deadline.saturating_duration_since(Instant::now());
        if left >= self.timeouts.dot_least { TimeLeft::Enough } else { TimeLeft::TooLittle }
    }
}
