//! What a reply, or the lack of one, does to a standing.

use std::time::Duration;

use posthaste_mail::{Domain, Lane, Stage, Timestamp};

use super::allowed::ceiling;
use super::breaker::DOUBTED_FOR;
use super::change::shown;
use super::reaction::{Answer, Effect, Reaction, SUSPENDED_FOR, WITHIN, built_in};
use super::{Change, ChangeKind, Closed, Fewer, Growth, SENDERS_MAX, Sender, Speed, Standing, Strike};
use crate::builtin;
use crate::file::Policy;
use crate::limits::Limits;
use crate::site::SiteName;
use crate::verdict::{Category, Verdict};

/// The slowest a rate is cut to: one a minute.
pub const RATE_FLOOR: f64 = 1.0 / 60.0;
/// Answers so close together are one word: connections that are at work get the same one each.
pub const ONE_WORD: Duration = Duration::from_secs(10);
/// A rate that was never told to slow down doubles this often.
pub const DOUBLES_EVERY: Duration = Duration::from_secs(10);
/// A rate that was grows this often, by a twentieth of its ceiling.
pub const GROWS_EVERY: Duration = Duration::from_secs(60);
/// See [`GROWS_EVERY`].
pub const GROWTH_STEP: f64 = 0.05;
/// What a receiver is given that takes its probe, as a share of the ceiling.
pub const AFTER_PROBE: f64 = 0.25;
/// Longest time a receiver is left alone because it named a wait, or could not be reached.
pub const NAMED_MAX: Duration = Duration::from_secs(3_600);
/// See [`NAMED_MAX`].
pub const REST_MAX: Duration = Duration::from_secs(15 * 60);
/// Fewer connections for so long where a rule does not say.
const FEWER_FOR: Duration = Duration::from_secs(30 * 60);
/// A recipient domain counts as served for so long; looked at again after half of it.
const SERVED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Domains remembered as served: it only matters whether there are several.
const SERVED_MAX: usize = 3;
/// Strikes remembered of one kind.
const STRIKES_MAX: usize = 20;

/// What happened at a receiver.
#[derive(Debug, Clone)]
pub struct Signal<'a> {
    /// What.
    pub of: SignalOf<'a>,
    /// At which site.
    pub site: &'a SiteName,
    /// The recipient domain.
    pub domain: &'a Domain,
    /// The sending domain.
    pub sender: Option<&'a Domain>,
    /// When.
    pub now: Timestamp,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum SignalOf<'a> {
    /// Recipients were accepted.
    Delivered {
        /// How many.
        recipients: u32,
    },
    /// It refuses mailboxes as it never did: see [`super::breaker`].
    Doubted {
        /// Why.
        why: &'a str,
    },
    /// It was refused, or nobody answered.
    Refused {
        /// What that means.
        verdict: &'a Verdict,
        /// How far it came.
        stage: Stage,
        /// The reply's code; none where nobody answered.
        code: Option<u16>,
        /// What was said, for people.
        text: &'a str,
        /// A wait that the reply names.
        named_wait: Option<Duration>,
        /// Transactions begun on the connection, this one included; 0 before MAIL.
        messages: u32,
        /// Recipients accepted in the transaction before this answer.
        accepted: u32,
    },
}

/// A standing that has changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Reacted {
    /// As it is now; its epoch is one more.
    pub standing: Standing,
    /// What changed, in order.
    pub changes: Vec<Change>,
}

impl Standing {
    /// What a signal makes of the standing; none: nothing that has to be written.
    pub fn react(&self, signal: &Signal<'_>, limits: &Limits, policy: &Policy) -> Option<Reacted> {
        let mut work = Work { next: self.clone(), changes: Vec::new(), by: "", limits, signal };
        match &signal.of {
            SignalOf::Delivered { .. } => work.delivered(),
            SignalOf::Doubted { why } => work.doubted(why),
            SignalOf::Refused { verdict, .. } => work.refused(verdict, policy),
        }
        let Work { mut next, changes, .. } = work;
        if next == *self {
            return None;
        }
        for change in &changes {
            next.note(change.clone());
        }
        (next.epoch, next.at) = (self.epoch + 1, signal.now);
        Some(Reacted { standing: next, changes })
    }
}

struct Work<'a> {
    next: Standing,
    changes: Vec<Change>,
    by: &'a str,
    limits: &'a Limits,
    signal: &'a Signal<'a>,
}

impl<'a> Work<'a> {
    fn now(&self) -> Timestamp {
        self.signal.now
    }

    fn change(&mut self, kind: ChangeKind, what: String) {
        let reply = match &self.signal.of {
            SignalOf::Refused { text, .. } => Some(shown(text)),
            SignalOf::Delivered { .. } | SignalOf::Doubted { .. } => None,
        };
        let by = if self.by.is_empty() { "growth".to_owned() } else { self.by.to_owned() };
        self.changes.push(Change { at: self.now(), kind, what, reply, by });
    }

    // What is accepted.

    fn delivered(&mut self) {
        let now = self.now();
        self.next.failures = 0;
        self.serves();
        if self.next.closed.as_ref().is_some_and(|closed| closed.probed.is_some()) {
            self.next.closed = None;
            self.next.strikes.clear();
            let a_second = (self.top() * AFTER_PROBE).max(RATE_FLOOR);
            self.next.rate = Some(Speed { a_second, since: now, growth: Growth::Additive });
            self.change(
                ChangeKind::Recovered,
                format!("the probe was taken: open again at {}", rate(a_second)),
            );
        } else {
            if self
                .next
                .closed
                .as_ref()
                .is_some_and(|closed| closed.probe_every.is_none() && closed.until <= now)
            {
                self.next.closed = None;
            }
            self.grow();
        }
        self.grow_sender();
    }

    /// Remembers that a recipient domain was served, a few of them and seldom.
    fn serves(&mut self) {
        let (now, domain) = (self.now(), self.signal.domain);
        let served = &mut self.next.domains;
        match served.iter_mut().find(|(known, _)| known == domain) {
            Some((_, at)) if now.since(*at) < SERVED_FOR / 2 => {}
            Some((_, at)) => *at = now,
            None => {
                if served.iter().filter(|(_, at)| now.since(*at) < SERVED_FOR).count() < SERVED_MAX {
                    served.retain(|(_, at)| now.since(*at) < SERVED_FOR);
                    served.push((domain.clone(), now));
                }
            }
        }
    }

    /// The highest rate to grow to.
    fn top(&self) -> f64 {
        let top = ceiling(self.limits);
        if top.is_infinite() { builtin::RATE_CEILING.a_second() } else { top }
    }

    fn grow(&mut self) {
        let now = self.now();
        let Some(speed) = self.next.rate else {
            // The first delivery begins the growth.
            self.next.rate = self.next.speed(self.limits).map(|speed| Speed { since: now, ..speed });
            return;
        };
        let top = self.top();
        let Some(grown) = grown(speed, top, now) else { return };
        let done = grown.a_second >= top;
        self.next.rate = Some(grown);
        if done {
            let kind = match speed.growth {
                Growth::Additive => ChangeKind::Recovered,
                Growth::Doubling => ChangeKind::Adjusted,
            };
            self.change(kind, format!("rate {} → {}", rate(speed.a_second), rate(top)));
            if self.limits.start.value.is_none() {
                self.next.rate = None;
            }
        }
    }

    fn grow_sender(&mut self) {
        let (now, top) = (self.now(), self.top());
        let Some(name) = self.signal.sender else { return };
        let Some(sender) = self.next.senders.get_mut(name) else { return };
        let opened = sender.closed.as_ref().is_some_and(|closed| closed.probed.is_some());
        if opened {
            sender.closed = None;
        }
        let grown = sender.rate.and_then(|speed| grown(speed, top, now));
        if let Some(grown) = grown {
            (sender.rate, sender.at) = (Some(grown), now);
        }
        let whole = sender.closed.is_none() && sender.rate.is_none_or(|speed| speed.a_second >= top);
        if opened {
            self.next.strikes.clear();
            self.change(ChangeKind::Recovered, format!("the probe for {name} was taken: it is sent again"));
        }
        if whole && self.next.senders.remove(name).is_some() && !opened {
            self.change(ChangeKind::Recovered, format!("mail of {name} is sent at the full rate again"));
        }
    }

    /// Once for as long as it is doubted.
    fn doubted(&mut self, why: &str) {
        let now = self.now();
        if now < self.next.doubted_until {
            return;
        }
        self.by = "breaker";
        let until = now.plus(DOUBTED_FOR);
        self.next.doubted_until = until;
        let closed =
            Closed { since: now, until, probe_every: None, probed: None, why: format!("breaker: {why}") };
        let longer = |known: &Closed| known.probe_every.is_some() || known.until >= until;
        if !self.next.closed.as_ref().is_some_and(longer) {
            self.next.closed = Some(closed);
        }
        self.change(ChangeKind::Shut, format!("left alone{}: {why}", for_time(DOUBTED_FOR)));
    }

    // What is refused.

    fn refused(&mut self, verdict: &Verdict, policy: &'a Policy) {
        let SignalOf::Refused { stage, code, text, .. } = self.signal.of else { return };
        if matches!(verdict.category, Category::Network | Category::Dns | Category::RemoteFault) {
            self.next.failures = self.next.failures.saturating_add(1);
        }
        let answer = Answer {
            category: verdict.category,
            scope: verdict.scope,
            rule: verdict.rule.as_str(),
            code,
            stage,
            site: self.signal.site,
            text,
        };
        let rules = policy.reactions.iter().chain(built_in());
        let Some(reaction) = rules.into_iter().find(|rule| rule.fits(&answer)) else { return };
        self.by = &reaction.name;
        if !self.is_due(reaction, code, stage) {
            return;
        }
        for effect in &reaction.effects {
            self.act(*effect, reaction, policy);
        }
    }

    /// Whether it has come to as many answers as the rule asks for; counts this one.
    fn is_due(&mut self, reaction: &Reaction, code: Option<u16>, stage: Stage) -> bool {
        let now = self.now();
        if reaction.in_a_row {
            return self.next.failures >= reaction.count;
        }
        let served = self.next.domains.iter().filter(|(_, at)| now.since(*at) < SERVED_FOR).count();
        let suspends =
            reaction.effects.iter().any(|effect| matches!(effect, Effect::Suspend | Effect::HoldSender));
        // Tenants of a hosted receiver write their own texts: one of them convicts nobody.
        let own_words = suspends && stage >= Stage::Rcpt && code.is_some_and(|code| code >= 500);
        let wanted =
            usize::try_from(reaction.domains).unwrap_or(usize::MAX).max(if own_words { 2 } else { 1 });
        let domains = if stage < Stage::Mail { 1 } else { wanted.min(served.max(1)) };
        if reaction.count <= 1 && domains <= 1 {
            return true;
        }
        let within = reaction.within.unwrap_or(WITHIN);
        let strikes = self.next.strikes.entry(reaction.name.clone()).or_default();
        strikes.retain(|strike| now.since(strike.at) < within);
        strikes.push(Strike { at: now, domain: self.signal.domain.clone() });
        let over = strikes.len().saturating_sub(STRIKES_MAX);
        strikes.drain(..over);
        let mut from: Vec<&Domain> = strikes.iter().map(|strike| &strike.domain).collect();
        from.sort_unstable();
        from.dedup();
        let counted = u32::try_from(strikes.len()).unwrap_or(u32::MAX);
        let is_due = counted >= reaction.count && from.len() >= domains;
        if is_due {
            self.next.strikes.remove(&reaction.name);
        }
        is_due
    }

    fn act(&mut self, effect: Effect, reaction: &Reaction, policy: &Policy) {
        match effect {
            Effect::Nothing => {}
            Effect::HalveRate => self.halve_rate(),
            Effect::HalveConnections => self.halve_connections(reaction.lasts.unwrap_or(FEWER_FOR)),
            Effect::Suspend => {
                let closed = self.closing(reaction);
                let what = format!("suspended{}", ends(&closed));
                self.close(closed, what);
            }
            Effect::HonourWait => self.honour_wait(),
            Effect::Rest => self.rest(policy),
            Effect::SlowSender => self.slow_sender(),
            Effect::HoldSender => self.hold_sender(reaction),
            Effect::LearnMessages | Effect::LearnRecipients => self.learn(effect),
        }
    }

    fn halve_rate(&mut self) {
        let now = self.now();
        let speed = self.next.speed(self.limits);
        if now.since(self.next.slowed_at) < ONE_WORD {
            return;
        }
        let before = speed.map_or(self.top(), |speed| speed.a_second.min(self.top()));
        let a_second = (before / 2.0).max(RATE_FLOOR);
        self.next.slowed_at = now;
        self.next.rate = Some(Speed { a_second, since: now, growth: Growth::Additive });
        self.change(ChangeKind::Slowed, format!("rate {} → {}", rate(before), rate(a_second)));
    }

    fn halve_connections(&mut self, lasts: Duration) {
        let now = self.now();
        let before = self.next.allowed(self.limits, None, now).connections;
        let until = now.plus(lasts);
        let again = self.next.fewer_connections.filter(|fewer| until.since(fewer.until) < ONE_WORD);
        if again.is_some_and(|fewer| now < fewer.until) {
            return;
        }
        let connections = (before / 2).max(1);
        self.next.fewer_connections = Some(Fewer { connections, until });
        self.change(ChangeKind::Slowed, format!("connections {before} → {connections}{}", for_time(lasts)));
    }

    fn closing(&self, reaction: &Reaction) -> Closed {
        let now = self.now();
        let until = match (reaction.lasts, reaction.probe) {
            (Some(lasts), _) => now.plus(lasts),
            (None, Some(_)) => Timestamp::NEVER,
            (None, None) => now.plus(SUSPENDED_FOR),
        };
        Closed { since: now, until, probe_every: reaction.probe, probed: None, why: self.why() }
    }

    fn why(&self) -> String {
        match &self.signal.of {
            SignalOf::Refused { text, .. } if !text.is_empty() => format!("{}: {}", self.by, shown(text)),
            _ => self.by.to_owned(),
        }
    }

    fn close(&mut self, closed: Closed, what: String) {
        // What is closed already stays so, for the time it was closed for or its next probe.
        let still = self
            .next
            .closed
            .as_ref()
            .is_some_and(|known| known.probe_every.is_some() || known.until >= closed.until);
        if !still {
            let kind = closing_kind(&closed);
            self.next.closed = Some(closed);
            self.change(kind, what);
        }
    }

    fn honour_wait(&mut self) {
        let SignalOf::Refused { named_wait: Some(wait), .. } = self.signal.of else { return };
        let wait = wait.min(NAMED_MAX);
        let (now, why) = (self.now(), self.why());
        let closed = Closed { since: now, until: now.plus(wait), probe_every: None, probed: None, why };
        self.close(closed, format!("left alone{}, as asked", for_time(wait)));
    }

    fn rest(&mut self, policy: &Policy) {
        let schedule = &policy.retry(Lane::Transactional).schedule;
        let beyond = self.next.failures.saturating_sub(5);
        let at = usize::try_from(beyond).unwrap_or(usize::MAX);
        let wait = schedule.get(at).or(schedule.last()).copied().unwrap_or(REST_MAX).min(REST_MAX);
        let (now, why) = (self.now(), self.why());
        let closed = Closed { since: now, until: now.plus(wait), probe_every: None, probed: None, why };
        let failures = self.next.failures;
        self.close(closed, format!("not reached {failures} times: left alone{}", for_time(wait)));
    }

    fn sender(&mut self) -> Option<(Domain, &mut Sender)> {
        let (name, now) = (self.signal.sender?.clone(), self.signal.now);
        let senders = &mut self.next.senders;
        if senders.len() >= SENDERS_MAX && !senders.contains_key(&name) {
            let oldest = senders.iter().min_by_key(|(_, sender)| sender.at).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| senders.remove(&oldest));
        }
        let sender = senders.entry(name.clone()).or_default();
        sender.at = now;
        Some((name, sender))
    }

    fn slow_sender(&mut self) {
        let now = self.now();
        let site = self.next.allowed(self.limits, None, now).a_second.min(self.top());
        let Some((name, sender)) = self.sender() else { return };
        if sender.rate.is_some_and(|speed| now.since(speed.since) < ONE_WORD) {
            return;
        }
        let before = sender.rate.map_or(site, |speed| speed.a_second);
        let a_second = (before / 2.0).max(RATE_FLOOR);
        sender.rate = Some(Speed { a_second, since: now, growth: Growth::Additive });
        self.change(ChangeKind::Slowed, format!("rate of {name} {} → {}", rate(before), rate(a_second)));
    }

    fn hold_sender(&mut self, reaction: &Reaction) {
        let closed = self.closing(reaction);
        let (end, kind) = (ends(&closed), closing_kind(&closed));
        let Some((name, sender)) = self.sender() else { return };
        if sender.closed.is_none() {
            sender.closed = Some(closed);
            self.change(kind, format!("mail of {name} is held{end}"));
        }
    }

    fn learn(&mut self, effect: Effect) {
        let SignalOf::Refused { messages, accepted, .. } = self.signal.of else { return };
        let (what, place, limit, seen) = match effect {
            Effect::LearnMessages => (
                "messages a connection",
                &mut self.next.messages_per_connection,
                self.limits.messages_per_connection.value,
                messages.saturating_sub(1),
            ),
            _ => (
                "recipients a message",
                &mut self.next.recipients_per_message,
                self.limits.recipients_per_message.value,
                accepted,
            ),
        };
        let before = place.unwrap_or(limit).min(limit);
        if seen == 0 || seen >= before {
            return;
        }
        *place = Some(seen);
        self.change(ChangeKind::Adjusted, format!("{what} {before} → {seen}"));
    }
}

/// A step up, if it is time for one.
fn grown(speed: Speed, top: f64, now: Timestamp) -> Option<Speed> {
    if speed.a_second >= top {
        return None;
    }
    let (every, a_second) = match speed.growth {
        Growth::Doubling => (DOUBLES_EVERY, speed.a_second * 2.0),
        Growth::Additive => (GROWS_EVERY, speed.a_second + top * GROWTH_STEP),
    };
    (now.since(speed.since) >= every).then_some(Speed { a_second: a_second.min(top), since: now, ..speed })
}

/// A rate as it is shown: `2.5/s`, `30/m`, `unlimited`.
pub fn rate(a_second: f64) -> String {
    if a_second.is_infinite() {
        "unlimited".to_owned()
    } else if a_second >= 1.0 {
        format!("{}/s", (a_second * 10.0).round() / 10.0)
    } else {
        format!("{}/m", (a_second * 600.0).round() / 10.0)
    }
}

fn for_time(span: Duration) -> String {
    format!(" for {}", crate::span::show_span(Duration::from_secs(span.as_secs())))
}

/// What opens by itself needs nobody.
fn closing_kind(closed: &Closed) -> ChangeKind {
    if closed.probe_every.is_some() { ChangeKind::Shut } else { ChangeKind::Suspended }
}

fn ends(closed: &Closed) -> String {
    match closed.probe_every {
        Some(every) => format!(", one probe each {}", crate::span::show_span(every)),
        None => for_time(closed.until.since(closed.since)),
    }
}
