//! What happened, told to whoever counts it: on one machine nobody, deployed the metrics of an invocation.
//!
//! What is absent: no metric is kept or sent here, nothing waits for a meter, and nothing is decided by one. What a
//! settled step came to is read off its events, so that what is counted is what is told; a step that is done again
//! after a crash counts once, when it is written.

use std::time::Duration;

use posthaste_mail::Lane;
use posthaste_policy::Action;

use crate::effect::{Effect, Event, EventKind, Step};
use crate::identity::Reported;

/// Is told what happens, as it happens. Quick: it is told in the middle of deliveries.
pub trait Meter: Send + Sync {
    /// Takes note.
    fn note(&self, happened: Happened<'_>);
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unmetered;

impl Meter for Unmetered {
    fn note(&self, _: Happened<'_>) {}
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Happened<'a> {
    /// A submission was accepted that had not come before.
    Accepted {
        /// Its lane.
        lane: Lane,
        /// Its recipients.
        recipients: usize,
    },
    /// A submission was refused, for whatever its sender can mend.
    Refused,
    /// Recipients of one row were tried, whatever came of it.
    Attempted {
        /// The lane.
        lane: Lane,
        /// The receiver, if a way to one was found.
        site: Option<&'a str>,
        /// How many of the row's recipients.
        recipients: usize,
    },
    /// Something is told of one recipient.
    Told {
        /// What is told.
        event: &'a Event,
        /// Since it was accepted, or since the time that was asked for.
        waited: Duration,
    },
    /// A job was put back because its site is given no more for now.
    Paced {
        /// Its lane.
        lane: Lane,
    },
    /// A wait on the way to a receiver was over.
    Waited {
        /// For what.
        on: Wait,
        /// How long.
        took: Duration,
    },
    /// What a receiver is given has changed.
    SiteChanged,
    /// A receiver, or a sending domain there, is given nothing until a probe is taken: somebody should look.
    SiteShut,
    /// A receiver has reported over a period.
    Reported(Reported),
    /// A round has found so many domains with errors.
    DomainsWrong(usize),
    /// A store did not do what it was asked.
    StoreFailed,
}

/// What is waited for before a message can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// MX hosts or their addresses, from a cache or from name servers.
    Names,
    /// A TCP connection.
    Connect,
    /// A TLS handshake.
    Handshake,
}

/// The metric that an event counts for; none where nobody watches it. A deferral because the receiver is to be given
/// less is a throttle: it costs no attempt.
pub fn metric_of(event: &Event) -> Option<&'static str> {
    let throttled = event.attempt.as_ref().is_some_and(|attempt| attempt.verdict.action == Action::Slow);
    match event.kind {
        EventKind::Delivered => Some("Delivered"),
        EventKind::Deferred if throttled => Some("Throttled"),
        EventKind::Deferred => Some("Deferred"),
        EventKind::Bounced => Some("Bounced"),
        EventKind::Expired => Some("Expired"),
        EventKind::Suppressed => Some("Suppressed"),
        EventKind::Ambiguous => Some("Ambiguous"),
        EventKind::Complained => Some("Complained"),
        EventKind::AuthDrifted => Some("AuthDrifted"),
        EventKind::Cancelled | EventKind::Unsubscribed | EventKind::SiteSlowed | EventKind::SiteRecovered => {
            None
        }
    }
}

/// What a step tells of its recipients, kept until the step is written: only then has it happened.
pub(crate) struct Tale(Vec<(Event, Duration)>);

impl Tale {
    pub(crate) fn of(step: &Step) -> Self {
        let facts = &step.row.facts;
        let since = facts.send_at.map_or(facts.accepted_at, |asked| asked.max(facts.accepted_at));
        let events = step.effects.iter().filter_map(|effect| match effect {
            Effect::Event(event) => Some((Event::clone(event), event.at.since(since))),
            _ => None,
        });
        Self(events.collect())
    }

    pub(crate) fn note(&self, meter: &dyn Meter) {
        for (event, waited) in &self.0 {
            meter.note(Happened::Told { event, waited: *waited });
        }
    }
}
