//! The pacer: nothing is given twice, whoever asks, and what a dead holder had comes back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use posthaste_mail::{Lane, Tenant, Timestamp};
use posthaste_pipeline::pacer::{LineKey, PaceKey, Pacer};
use posthaste_policy::SiteName;
use posthaste_policy::file::EgressName;
use posthaste_policy::pacing::book::{Book, TokenAsk, Tokens};
use posthaste_policy::pacing::seats::{CLOCKS_DIFFER, LEASE, Seat, SeatAsk, Urgency};
use posthaste_policy::pacing::{Grant, Micros, Pace};
use posthaste_policy::standing::breaker::Tally;
use posthaste_policy::standing::{Order, Standing};

use super::make::at;
use super::{Deliveries, Subject, again};

/// Who contends: as many as functions that meet at one receiver.
const CONTENDERS: i64 = 16;

fn key(site: &str) -> PaceKey {
    PaceKey { egress: EgressName::new("default"), site: SiteName::new(site), sender: None }
}

fn wish(tokens: u32, now: Micros) -> TokenAsk {
    let pace = Pace { interval_us: 50_000, burst: 1, reach: Duration::from_secs(1) };
    TokenAsk { tokens, pace, epoch: 0, now }
}

fn start() -> Micros {
    Micros::at(at(1_000))
}

async fn sit(pacer: &Arc<dyn Pacer>, key: &PaceKey, ask: SeatAsk) -> Seat {
    again(|| pacer.sit(key, &ask)).await
}

async fn tokens(pacer: &Arc<dyn Pacer>, key: &PaceKey, ask: TokenAsk) -> Tokens {
    again(|| pacer.tokens(key, &ask)).await
}

fn end(grant: &Grant) -> i64 {
    grant.from.0 + grant.interval_us * i64::from(grant.tokens)
}

/// One who asks is answered as the arithmetic says.
pub async fn tokens_are_as_the_book_says(subject: &Subject) {
    let (pacer, key) = (&subject.stores.pacer, key("alone.example"));
    let mut book = Book::default();
    let mut last = i64::MIN;
    for (nth, pause) in
        [0, 10_000, 200_000, 5_000_000, 1, 1, 900_000, 60_000_000, 50_000].into_iter().enumerate()
    {
        let tokens = 1 + u32::try_from(nth).unwrap() % 7 * 3;
        let now = start().plus(pause + i64::try_from(nth).unwrap() * 400_000);
        let asked = wish(tokens, now);
        let expected = book.tokens(&asked);
        let answer = again(|| pacer.tokens(&key, &asked)).await;
        if subject.deliveries == Deliveries::Once {
            assert_eq!(answer, expected, "ask {nth}");
        }
        // Where answers are lost there may be less, never the same twice.
        if let Tokens::Granted { grant, .. } = answer {
            assert!(grant.from.0 >= last, "ask {nth}");
            last = end(&grant);
        }
    }
}

/// Many who ask at once, with clocks that differ, are given times of their own.
pub async fn no_time_is_handed_out_twice(subject: &Subject) {
    let (pacer, key) = (&subject.stores.pacer, key("many.example"));
    let grants = Mutex::new(Vec::new());
    let contend = (0..CONTENDERS).map(|who| {
        let (grants, key) = (&grants, &key);
        async move {
            for round in 0..6 {
                let skew = (who % 5 - 2) * 1_000_000;
                let now = start().plus(round * 700_000 + skew);
                if let Tokens::Granted { grant, .. } = tokens(pacer, key, wish(4, now)).await {
                    assert!(grant.from.0 <= now.0 + 1_000_000, "too far ahead");
                    grants.lock().unwrap().push(grant);
                }
            }
        }
    });
    join_all(contend).await;
    let mut grants = grants.into_inner().unwrap();
    assert!(grants.len() > 3, "{} grants", grants.len());
    grants.sort_by_key(|grant| grant.from);
    for pair in grants.windows(2) {
        assert!(end(&pair[0]) <= pair[1].from.0, "{pair:?}");
    }
}

/// Never more connections than there may be, whoever asks, dies, or does not hear the answer.
pub async fn connections_are_counted_across_holders(subject: &Subject) {
    const MAX: u32 = 3;
    let (pacer, key) = (&subject.stores.pacer, key("seats.example"));
    let ask = |who: &str, now: Micros| SeatAsk {
        who: vec![who.to_owned()],
        max: MAX,
        opening_us: Some(1),
        urgency: Urgency::Usual,
        now,
    };
    let names: Vec<String> = (0..CONTENDERS).map(|nth| format!("holder-{nth}")).collect();
    let taken = async |now: Micros| -> BTreeSet<&String> {
        let tries = names.iter().enumerate().map(|(nth, name)| {
            let key = &key;
            // No two open in the same microsecond.
            let asked = ask(name, now.plus(10 * i64::try_from(nth).unwrap()));
            async move { (name, again(|| pacer.sit(key, &asked)).await) }
        });
        let answers = join_all(tries).await;
        answers.into_iter().filter(|(_, seat)| matches!(seat, Seat::Taken(_))).map(|(name, _)| name).collect()
    };
    let first = taken(start()).await;
    assert!(first.len() <= MAX as usize, "{first:?}");
    assert!(!first.is_empty());
    // The same who hold them keep them; the others find none.
    let soon = start().plus(1_000_000);
    let second = taken(soon).await;
    assert!(second.len() <= MAX as usize, "{second:?}");
    assert!(first.is_subset(&second), "{first:?} {second:?}");
    // One goes; another has its place, and only one.
    let gone = *first.iter().next().unwrap();
    again(|| pacer.rise(&key, std::slice::from_ref(gone))).await;
    again(|| pacer.rise(&key, std::slice::from_ref(gone))).await;
    let others: Vec<&String> = names.iter().filter(|name| !second.contains(name)).collect();
    let mut came = 0;
    for (nth, name) in others.iter().enumerate() {
        let now = soon.plus(1_000_000 + i64::try_from(nth).unwrap() * 10);
        came += usize::from(matches!(sit(pacer, &key, ask(name, now)).await, Seat::Taken(_)));
    }
    assert!(came <= MAX as usize - (second.len() - 1), "{came} came for one that went");
    // All die: their places are free when their leases have lapsed, and not before.
    let lapsed = i64::try_from((LEASE + CLOCKS_DIFFER).as_micros()).unwrap();
    let fresh = SeatAsk { who: vec!["late".to_owned()], ..ask("late", soon.plus(30_000_000)) };
    if subject.deliveries == Deliveries::Once {
        assert!(matches!(again(|| pacer.sit(&key, &fresh)).await, Seat::Full(_)));
    }
    let after = SeatAsk { now: soon.plus(2 * lapsed), ..fresh };
    assert!(matches!(again(|| pacer.sit(&key, &after)).await, Seat::Taken(_)));
}

/// A connection more than there may be by now is given up when it is renewed; new ones are opened one by one.
pub async fn connections_are_opened_and_given_up_as_told(subject: &Subject) {
    let (pacer, key) = (&subject.stores.pacer, key("fewer.example"));
    let ask = |who: &str, max: u32, opening_us: Option<i64>, now: i64| SeatAsk {
        who: vec![who.to_owned()],
        max,
        opening_us,
        urgency: Urgency::Urgent,
        now: start().plus(now),
    };
    assert!(matches!(sit(pacer, &key, ask("a", 2, Some(500_000), 0)).await, Seat::Taken(_)));
    let soon = sit(pacer, &key, ask("b", 2, Some(500_000), 400_000)).await;
    assert_eq!(soon, Seat::TooSoon(start().plus(500_000)));
    assert!(matches!(sit(pacer, &key, ask("b", 2, Some(500_000), 600_000)).await, Seat::Taken(_)));
    assert_eq!(sit(pacer, &key, ask("b", 1, None, 700_000)).await, Seat::Leave);
    let full = sit(pacer, &key, ask("c", 2, Some(500_000), 3_000_000)).await;
    assert!(matches!(full, Seat::Full(_)), "{full:?}");
    // Several at once are given all or none.
    let several =
        SeatAsk { who: vec!["d".to_owned(), "e".to_owned()], ..ask("d", 3, Some(500_000), 3_000_000) };
    assert!(matches!(again(|| pacer.sit(&key, &several)).await, Seat::Full(_)));
    let fit = SeatAsk { max: 4, ..several.clone() };
    assert!(matches!(again(|| pacer.sit(&key, &fit)).await, Seat::Taken(_)));
    again(|| pacer.rise(&key, &several.who)).await;
    // Somebody urgent was without: whoever takes tokens hears of it.
    let answer = tokens(pacer, &key, wish(1, start().plus(3_100_000))).await;
    let Tokens::Granted { wanted, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(wanted, Some(start().plus(3_000_000)));
}

/// Of many standings written over one, one is; and tokens asked under an older one are refused.
pub async fn one_standing_follows_another(subject: &Subject) {
    let (pacer, key) = (&subject.stores.pacer, key("stands.example"));
    let order = |nth: u32| Order { connections: Some(nth), ..Order::default() };
    let writers = (1..=8_u32).map(|nth| {
        let (pacer, key) = (pacer.clone(), key.clone());
        let standing = Standing::default().ordered(order(nth), at(1_000));
        async move { pacer.stand(&key, &standing).await }
    });
    // An answer that was lost may have been the one that won.
    let answers = join_all(writers).await;
    let won = answers.iter().filter(|answer| matches!(answer, Ok(true))).count();
    let lost = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(won <= 1 && won + lost >= 1, "{answers:?}");
    let first = again(|| pacer.view(&key)).await.standing;
    if first.epoch == 0 {
        return;
    }
    assert_eq!(first.epoch, 1);
    let second = first.ordered(order(99), at(1_001));
    let mut written = false;
    while !written {
        written =
            again(|| pacer.stand(&key, &second)).await || again(|| pacer.view(&key)).await.standing == second;
    }
    assert!(!again(|| pacer.stand(&key, &second)).await);
    assert_eq!(again(|| pacer.view(&key)).await.standing, second);
    let stale = TokenAsk { epoch: 1, ..wish(1, start()) };
    let current = TokenAsk { epoch: 2, ..stale };
    assert!(matches!(again(|| pacer.tokens(&key, &current)).await, Tokens::Granted { .. }));
    assert_eq!(again(|| pacer.tokens(&key, &stale)).await, Tokens::Stale);
    let all = again(|| pacer.standings(None, 10)).await;
    assert_eq!(all, [(key.clone(), second)]);
    assert_eq!(again(|| pacer.standings(Some(&key), 10)).await, []);
}

/// Places in a line are each somebody's own; what is served or forgotten is no longer waited for.
pub async fn places_in_line_are_handed_out_once(subject: &Subject) {
    let pacer = &subject.stores.pacer;
    let line = LineKey { key: key("line.example"), lane: Lane::Bulk, tenant: Tenant::default_tenant() };
    let other = LineKey { lane: Lane::Transactional, ..line.clone() };
    let takers = (0..CONTENDERS).map(|_| {
        let line = line.clone();
        async move { again(|| pacer.ticket(&line, 3, start())).await }
    });
    let tickets: BTreeSet<u64> = join_all(takers).await.into_iter().collect();
    assert_eq!(tickets.len(), usize::try_from(CONTENDERS).unwrap());
    assert!(tickets.iter().all(|ticket| ticket % 3 == 0), "{tickets:?}");
    again(|| pacer.ticket(&other, 1, start())).await;
    again(|| pacer.served(&line, 6, start())).await;
    let waiting = async || {
        let view = again(|| pacer.view(&line.key)).await;
        view.lines.into_iter().find(|(lane, ..)| *lane == Lane::Bulk).map(|(_, _, line)| line)
    };
    let seen = waiting().await.unwrap();
    if subject.deliveries == Deliveries::Once {
        assert_eq!((seen.tail, seen.served), (48, 6));
        assert_eq!(tickets.iter().max(), Some(&45));
    }
    let moved = posthaste_policy::pacing::line::Line { tail: seen.tail + 1, ..seen };
    again(|| pacer.forget(&line, &moved, start())).await;
    assert_eq!(waiting().await, Some(seen), "a line that has moved is not forgotten");
    again(|| pacer.forget(&line, &seen, start())).await;
    assert_eq!(waiting().await, None);
    assert_eq!(again(|| pacer.view(&line.key)).await.lines.len(), 1);
}

/// What receivers say of mailboxes is counted across everybody who hears it, and told when it is past belief.
pub async fn mailboxes_are_counted_together(subject: &Subject) {
    let (pacer, key, other) = (&subject.stores.pacer, key("mailboxes"), key("other mailboxes"));
    let at = Timestamp(1_800_000_000_000);
    let tally = Tally { delivered: 3, bad: 2, known_bad: 2 };
    let mut counting = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (pacer, key) = (pacer.clone(), key.clone());
        counting.spawn(async move { again(|| pacer.tally(&key, tally, at)).await });
    }
    counting.join_all().await;
    let health = again(|| pacer.tally(&key, Tally::default(), at)).await;
    // What was counted and not answered is counted again.
    assert!(health.now.known_bad >= 20 && health.now.delivered >= 30, "{health:?}");
    assert!(health.doubt().is_some());
    let health = again(|| pacer.tally(&other, Tally::default(), at)).await;
    assert_eq!((health.now, health.doubt()), (Tally::default(), None));
}
