//! What must be true when all is quiet.

use std::collections::BTreeMap;

use posthaste_mail::{EventId, PartKey};
use posthaste_pipeline::effect::{About, Event, EventKind};
use posthaste_pipeline::row::{End, Guarantee, Outcome, Row, State};
use posthaste_pipeline::stores::Acceptance;

use super::process::Stage;
use super::receiver::{Take, Window};
use super::store::World;

/// Every accepted message has all its parts, each of them is final and told, and no job is left.
pub fn has_drained(world: &World, accepted: &[Acceptance]) -> bool {
    let kept = world.kept();
    let ended = |key: PartKey| {
        kept.rows
            .get(&key)
            .is_some_and(|row| row.wake.is_none() && matches!(row.state, State::Done | State::Split))
    };
    let keys = |one: &Acceptance| {
        let key = one.row.key.clone();
        (0..=one.row.parts.len())
            .map(move |part| PartKey { part: u16::try_from(part).unwrap(), ..key.clone() })
    };
    kept.queue.is_empty() && accepted.iter().flat_map(keys).all(ended)
}

/// No hold is left, so no row waits under one.
pub fn nothing_is_held(world: &World) {
    let kept = world.kept();
    let held = kept.rows.values().find(|row| row.hold.is_some() && row.state == State::Waiting);
    assert!(held.is_none(), "left behind by a release: {held:#?}");
}

pub fn what_is_left(world: &World) -> Vec<Row> {
    let kept = world.kept();
    kept.rows
        .values()
        .filter(|row| row.wake.is_some() || row.open_recipients().next().is_some())
        .cloned()
        .collect()
}

pub fn all(stage: &Stage, accepted: &[Acceptance]) {
    let takes = stage.receiver.takes();
    let kept = stage.world.kept();
    assert!(kept.dead.values().all(|letter| letter.reason.contains("died")), "{:?}", kept.dead);
    for row in kept.rows.values().filter(|row| row.state == State::Done) {
        for at in 0..row.recipients.len() {
            let taken: Vec<&Take> = takes.iter().filter(|t| t.key == row.key && t.recipient == at).collect();
            one(stage, row, at, &taken, &kept.events);
            let bad = row.recipients[at].address.local();
            if matches!(row.recipients[at].outcome, Outcome::Final { end: End::Bounced, .. }) {
                assert!(matches!(bad, "bad" | "gone"), "{bad} bounced");
                let folded = row.recipients[at].address.folded();
                assert!(kept.suppressions.keys().any(|key| key.0 == folded), "{bad} is not suppressed");
            }
        }
    }
    let planned = |one: &Acceptance| {
        one.row.recipients.len() + one.row.parts.iter().map(|part| part.recipients.len()).sum::<usize>()
    };
    let there: usize = kept.rows.values().map(|row| row.recipients.len()).sum();
    assert_eq!(there, accepted.iter().map(planned).sum::<usize>());
}

fn one(stage: &Stage, row: &Row, at: usize, takes: &[&Take], events: &BTreeMap<EventId, Event>) {
    let recipient = &row.recipients[at];
    let who = format!("{} {}", row.key, recipient.address);
    let Outcome::Final { end, .. } = &recipient.outcome else { panic!("{who} has no end") };
    let asked_again =
        stage.callers.retried.lock().unwrap().iter().filter(|id| **id == row.key.message).count();
    if *end == End::Delivered {
        assert!(!takes.is_empty(), "{who} was never delivered");
    }
    // More than once only where something fell between the dot and the settlement.
    for take in takes.iter().rev().skip(1) {
        assert_eq!(take.window, Window::Open, "{who} was delivered again though that was settled: {takes:?}");
    }
    if row.facts.guarantee == Guarantee::AtMostOnce {
        assert!(takes.len() <= 1 + asked_again, "{who} was delivered {} times", takes.len());
    }
    if *end != End::Delivered {
        for take in takes {
            assert_eq!(take.window, Window::Open, "{who} is {end:?} and was delivered");
        }
    }
    told_once(row, &who, at, *end, asked_again, events);
    let cancelled = stage.callers.cancelled.lock().unwrap();
    let said = cancelled.iter().filter(|(id, address, _)| {
        *id == row.key.message && *address == recipient.address.to_string() && asked_again == 0
    });
    for (_, _, when) in said {
        assert!(takes.iter().all(|take| take.began <= *when), "{who} was sent after it was cancelled");
    }
}

fn told_once(
    row: &Row,
    who: &str,
    at: usize,
    end: End,
    asked_again: usize,
    events: &BTreeMap<EventId, Event>,
) {
    let told = |kind: EventKind| {
        let about = |event: &&Event| {
            let is_his = |about: &About| {
                about.message_id == row.key.message && about.recipient == row.recipients[at].address
            };
            event.about.as_ref().is_some_and(is_his) && event.kind == kind
        };
        events.values().filter(about).count()
    };
    let ends = [
        (End::Delivered, EventKind::Delivered),
        (End::Bounced, EventKind::Bounced),
        (End::Expired, EventKind::Expired),
        (End::Suppressed, EventKind::Suppressed),
        (End::Cancelled, EventKind::Cancelled),
        (End::Ambiguous, EventKind::Ambiguous),
    ];
    for (kind_of, kind) in ends {
        let told = told(kind);
        let most = if kind_of == End::Delivered { 1 } else { 1 + asked_again };
        assert!(told <= most, "{who}: {kind:?} was told {told} times");
        if kind_of == end {
            assert!(told >= 1, "{who}: {kind:?} was never told: {row:#?}");
        } else if kind_of == End::Delivered {
            assert_eq!(told, 0, "{who} was told as delivered and is {end:?}");
        }
    }
}
