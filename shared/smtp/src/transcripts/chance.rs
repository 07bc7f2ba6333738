//! Whatever a peer answers, a transaction ends, every recipient has an outcome, and none is delivered by mistake.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::dialogue::exchange::Exchange;
use crate::dialogue::terms::{Action, Finished, Owed, Terms, TimeLeft, Turn};
use crate::wire::Answer;
use crate::{Capabilities, Manner, SizeLimit};

/// More steps than any transaction with this many recipients can have.
const STEPS_MAX: usize = 64;

#[derive(Debug, Clone)]
enum Event {
    Reply(u16),
    TooMany,
    Lost(Loss),
    Deadline,
}

fn event() -> impl Strategy<Value = Event> {
    let code = prop::sample::select(vec![250, 250, 250, 354, 354, 421, 450, 452, 501, 503, 550, 555, 334]);
    prop_oneof![
        30 => code.prop_map(Event::Reply),
        2 => Just(Event::TooMany),
        1 => Just(Event::Lost(Loss::Closed)),
        1 => Just(Event::Lost(Loss::Garbage(String::new()))),
        1 => Just(Event::Deadline),
    ]
}

/// What a receiver would hold true: whom it accepted since MAIL, and whether it took a message for them.
fn play(offer: &Capabilities, turn: Turn, owed: Owed, events: &[Event]) -> (Finished, bool) {
    let tx = Case { recipients: 5, ..Case::default() }.transaction();
    let terms = Terms { offer, manner: Manner::Full, turn, owed, domains_seen: &[] };
    let mut exchange = Exchange::new(&tx, &terms);
    let (mut out, mut events, mut message_taken) = (BytesMut::new(), events.iter(), false);
    for _ in 0..STEPS_MAX {
        match exchange.next(&mut out, TimeLeft::Enough) {
            Action::Await(stage) => match events.next().cloned().unwrap_or(Event::Lost(Loss::TimedOut)) {
                Event::Reply(code) => {
                    exchange.replied(&Answer { code, lines: vec![String::new()] });
                    message_taken |= stage == posthaste_mail::Stage::Dot && code == 250;
                }
                Event::TooMany => {
                    exchange.replied(&Answer { code: 452, lines: vec!["4.5.3 many".to_owned()] })
                }
                Event::Lost(how) => exchange.lost(how),
                Event::Deadline => exchange.deadline_passed(),
            },
            Action::Message => exchange.message_written(),
            Action::Finish => return (exchange.finish(), message_taken),
        }
    }
    panic!("no end after {STEPS_MAX} steps");
}

proptest! {
    #[test]
    fn every_transaction_ends_with_an_outcome_for_each(
        pipelining: bool,
        later: bool,
        owed: bool,
        events in prop::collection::vec(event(), 0..20),
    ) {
        let size = Some(SizeLimit::Unstated);
        let offer = Capabilities { pipelining, size, ..Capabilities::default() };
        let turn = if later { Turn::Later } else { Turn::First };
        let owed = if owed && later { Owed::Rset } else { Owed::Nothing };
        let (finished, message_taken) = play(&offer, turn, owed, &events);
        prop_assert_eq!(finished.recipients.len(), 5);
        let delivered = finished.recipients.iter().any(|o| matches!(o, Outcome::Delivered { .. }));
        prop_assert!(!delivered || message_taken);
        if turn == Turn::First {
            let reconnects = finished.recipients.iter().any(|o| matches!(o, Outcome::Reconnect { .. }));
            prop_assert!(!reconnects, "a first transaction is not a reused connection's");
        }
    }
}

#[test]
fn sending_can_be_spawned() {
    fn spawnable(_: &impl Send) {}
    let tls = TlsContext::new(b"").unwrap();
    let peer = Peer { host: HOST.to_owned(), addr: "192.0.2.1:25".parse().unwrap() };
    let session = Session {
        ehlo_name: "us.example".to_owned(),
        tls: TlsMode::Never,
        auth: None,
        habits: Habits::default(),
    };
    let tx = Case::default().transaction();
    let timeouts = Timeouts::default();
    spawnable(&async {
        let deadline = Instant::now();
        if let Ok(mut connection) = crate::open(&peer, &session, &tls, &timeouts, deadline).await {
            connection.transact(&tx, deadline, async { Proceed::Send }).await;
            connection.quit().await;
        }
    });
}
