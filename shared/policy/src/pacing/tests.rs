//! What pacing must never do, over many histories.

use proptest::prelude::*;

use posthaste_mail::Lane;

use super::book::{Book, TokenAsk, Tokens};
use super::line::{Growth, LINE_WAIT_MAX, Outlook, line_wait, served_before};
use super::seats::{GIVE_UP, LEASE, Seat, SeatAsk, Urgency};
use super::*;
use crate::rate::Rate;

fn pace(rate: &str, burst: u32, reach_ms: u64) -> Pace {
    Pace {
        interval_us: Rate::parse(rate).unwrap().interval_us(),
        burst,
        reach: Duration::from_millis(reach_ms),
    }
}

#[test]
fn branches_are_those_of_the_conditional_writes() {
    let check = |tat: Option<i64>, now: i64, expected: Answer| {
        let got = ask(tat.map(Micros), Micros(now), 10, &pace("10/s", 3, 1000));
        assert_eq!(got, expected, "tat {tat:?} now {now}");
    };
    let grant = |from| Grant { from: Micros(from), interval_us: 100_000, tokens: 10, burst: 3 };
    check(None, 5_000_000, Answer::Granted(Micros(6_000_000), Branch::New, grant(5_000_000)));
    check(Some(1_000_000), 5_000_000, Answer::Granted(Micros(6_000_000), Branch::Idle, grant(5_000_000)));
    check(Some(4_900_000), 5_000_000, Answer::Granted(Micros(5_900_000), Branch::Ahead, grant(4_900_000)));
    check(Some(6_000_000), 5_000_000, Answer::Granted(Micros(7_000_000), Branch::Ahead, grant(6_000_000)));
    check(Some(6_000_001), 5_000_000, Answer::Later(Micros(5_000_001)));
}

#[test]
fn unlimited_is_always_now() {
    let answer = ask(Some(Micros(9)), Micros(5), 1000, &pace("unlimited", 1, 0));
    let Answer::Granted(_, _, grant) = answer else { panic!("{answer:?}") };
    assert_eq!(Purse::new(grant).spend(Micros(5), 1_000_000), Spend::Now);
}

#[test]
fn what_has_passed_unspent_is_void_but_for_the_burst() {
    let check = |burst: u32, now: i64, expected_spent: u32| {
        let grant = Grant { from: Micros(0), interval_us: 100, tokens: 10, burst };
        let mut purse = Purse::new(grant);
        let mut spent = 0;
        while purse.spend(Micros(now), 1) == Spend::Now {
            spent += 1;
        }
        assert_eq!(spent, expected_spent, "burst {burst} at {now}");
    };
    check(1, 0, 1);
    check(1, 550, 1);
    check(3, 550, 3);
    check(3, 100, 2);
    check(1, 950, 1);
    check(1, 1_000, 0);
    check(20, 10_000, 0);
}

#[test]
fn places_in_line_have_a_wait() {
    let check = |places: u64, rate: &str, expected: Duration| {
        let a_second = Rate::parse(rate).unwrap().a_second();
        let outlook = Outlook { a_second, top: a_second, growth: Growth::Steady };
        assert_eq!(line_wait(places, &outlook), expected);
    };
    check(100, "10/s", Duration::from_secs(10));
    check(0, "10/s", Duration::ZERO);
    check(100, "unlimited", Duration::ZERO);
    check(u64::MAX, "1/d", LINE_WAIT_MAX);
}

#[test]
fn lines_are_served_by_weight_and_no_line_for_more_than_it_has() {
    let check = |ahead: u64, lane: Lane, others: &[(Lane, u64)], expected: u64| {
        assert_eq!(served_before(ahead, lane, others.iter().copied()), expected, "{ahead} {lane} {others:?}");
    };
    use Lane::{Bulk, Transactional};
    check(100, Bulk, &[], 100);
    check(100, Bulk, &[(Bulk, 1_000)], 200);
    check(100, Bulk, &[(Bulk, 10), (Bulk, 1_000)], 210);
    check(100, Bulk, &[(Transactional, 3)], 103);
    check(100, Bulk, &[(Transactional, 1_000_000)], 1_700);
    check(32, Transactional, &[(Bulk, 1_000_000)], 34);
    check(0, Bulk, &[(Transactional, 1_000_000)], 0);
}

#[test]
fn a_rate_that_grows_shortens_the_wait() {
    let check = |growth: Growth, ahead: u64, expected_s: f64| {
        let wait = line_wait(ahead, &Outlook { a_second: 2.0, top: 32.0, growth }).as_secs_f64();
        assert!((wait - expected_s).abs() < 0.05, "{growth:?} {ahead}: {wait}");
    };
    check(Growth::Steady, 320, 160.0);
    let ten = Growth::Doubling(Duration::from_secs(10));
    // 2, 4, 8, 16 a second on the way: (32 - 2) * 10 / ln 2 in 40 seconds.
    check(ten, 433, 40.0);
    check(ten, 433 + 3_200, 140.0);
    check(ten, 29, 10.0);
    check(Growth::By(1.0), 510, 30.0);
    check(Growth::By(1.0), 510 + 320, 40.0);
    check(Growth::By(1.0), 22, 4.93);
}

/// What one of several holders does at a moment.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Microseconds since the step before.
    pause: i64,
    /// Which holder.
    holder: usize,
    /// Recipients of its next transaction.
    tokens: u32,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![0_i64..2_000, 0_i64..200_000, 1_000_000_i64..3_000_000];
    let step =
        (pause, 0_usize..4, 1_u32..=3).prop_map(|(pause, holder, tokens)| Step { pause, holder, tokens });
    proptest::collection::vec(step, 1..200)
}

/// Plays a history and returns when how many tokens were spent.
fn play(steps: &[Step], pace: &Pace) -> Vec<(i64, u32)> {
    let mut tat = None;
    let mut purses: [Option<Purse>; 4] = [None; 4];
    let mut now = 1_000_000_000_000_i64;
    let mut spent = Vec::new();
    for step in steps {
        now += step.pause;
        let purse = &mut purses[step.holder];
        if purse.is_none_or(|p| p.left() < step.tokens) {
            match ask(tat, Micros(now), chunk(pace.interval_us).max(3), pace) {
                Answer::Granted(next, _, grant) => {
                    assert!(tat.is_none_or(|tat| next > tat), "time handed out twice");
                    tat = Some(next);
                    *purse = Some(Purse::new(grant));
                }
                Answer::Later(when) => {
                    let answer = ask(tat, when, 1, pace);
                    assert!(
                        matches!(answer, Answer::Granted(..)),
                        "told to come at {when:?}, then {answer:?}"
                    );
                }
            }
        }
        if let Some(held) = purse {
            match held.spend(Micros(now), step.tokens) {
                Spend::Now => spent.push((now, step.tokens)),
                Spend::At(when) => assert!(when > Micros(now)),
                Spend::Empty => *purse = None,
            }
        }
    }
    spent
}

proptest! {
    /// In no window more than its share, the burst, and the one transaction that reaches over its end.
    #[test]
    fn no_window_is_over_the_limit(steps in steps(), burst in 1_u32..5, a_second in 1_u32..200) {
        let pace = Pace { interval_us: Rate::per_second(a_second).interval_us(), burst, reach: REACH_BULK };
        let spent = play(&steps, &pace);
        for (from, &(start, _)) in spent.iter().enumerate() {
            let mut sum = 0;
            for &(end, tokens) in &spent[from..] {
                sum += i64::from(tokens);
                let allowed = (end - start) / pace.interval_us + i64::from(burst) + 1 + 2;
                prop_assert!(sum <= allowed, "{sum} tokens in {} us, {allowed} allowed", end - start);
            }
        }
    }
}

#[test]
fn who_comes_when_told_gets_the_whole_rate() {
    let pace = pace("10/s", 1, 1_000);
    let (mut tat, mut now, mut spent) = (None, 0, 0);
    while now < 99_900_000 {
        let Answer::Granted(next, _, grant) = ask(tat, Micros(now), chunk(pace.interval_us), &pace) else {
            panic!("nobody else asks, and it was promised");
        };
        tat = Some(next);
        let mut purse = Purse::new(grant);
        loop {
            match purse.spend(Micros(now), 1) {
                Spend::Now => spent += 1,
                Spend::At(when) => now = when.0,
                Spend::Empty => break,
            }
        }
    }
    assert_eq!(spent, 1_000);
}

proptest! {
    /// Whatever holders do and however their clocks differ (two seconds either way): no more of them rely on a seat at
    /// once than there are, and who goes on asking gets one when the others have died.
    #[test]
    fn seats_hold_against_clocks_and_deaths(acts in proptest::collection::vec((0_usize..6, 0_i64..30_000_000, 0_u8..6), 1..150), max in 1_u32..4) {
        let skew = |who: usize| (who as i64 % 5 - 2) * 1_000_000;
        let mut book = Book::default();
        // Until when each relies on its seat, by its own clock.
        let mut relies: [Option<i64>; 6] = [None; 6];
        let mut now = 1_000_000_000_000_i64;
        let give_up = i64::try_from(GIVE_UP.as_micros()).unwrap();
        for (who, pause, act) in acts {
            now += pause;
            let own = now + skew(who);
            let held = |relies: &[Option<i64>; 6], who: usize| {
                relies[who].is_some_and(|until| now + skew(who) < until - give_up)
            };
            let name = format!("{who}");
            match act {
                0 => {
                    book.seats.give_back(&[name]);
                    relies[who] = None;
                }
                // It dies, and is another one when it comes back: the lease has no holder.
                1 => relies[who] = None,
                _ => {
                    let ask = SeatAsk { who: vec![name], max, opening_us: Some(0), urgency: Urgency::Usual, now: Micros(own) };
                    match book.sit(&ask) {
                        Seat::Taken(until) => relies[who] = Some(until.0),
                        Seat::Full(_) | Seat::TooSoon(_) | Seat::Leave => relies[who] = None,
                    }
                }
            }
            let live = (0..6).filter(|who| held(&relies, *who)).count();
            prop_assert!(live <= max as usize, "{live} of {max} at {now}");
        }
        let lapsed = now + 2 * i64::try_from(LEASE.as_micros()).unwrap();
        let ask = SeatAsk { who: vec!["late".to_owned()], max, opening_us: Some(0), urgency: Urgency::Usual, now: Micros(lapsed) };
        prop_assert!(matches!(book.sit(&ask), Seat::Taken(_)));
    }

    /// Times that are handed out never overlap, whoever asks by whatever clock; and who comes back when told is given
    /// some, sooner or later.
    #[test]
    fn books_hand_out_each_time_once(acts in proptest::collection::vec((0_usize..6, 0_i64..400_000, 1_u32..20), 1..200)) {
        let pace = Pace { interval_us: 50_000, burst: 1, reach: REACH_BULK };
        let mut book = Book::default();
        let (mut now, mut last) = (1_000_000_000_000_i64, i64::MIN);
        for (who, pause, tokens) in acts {
            now += pause;
            let mut own = now + (who as i64 % 5 - 2) * 1_000_000;
            for tries in 0.. {
                prop_assert!(tries < 3, "told to come back for ever");
                match book.tokens(&TokenAsk { tokens, pace, epoch: 0, now: Micros(own) }) {
                    Tokens::Granted { grant, .. } => {
                        prop_assert!(grant.from.0 >= last, "handed out twice");
                        prop_assert!(grant.from.0 <= own + 1_000_000, "too far ahead");
                        last = grant.from.0 + grant.interval_us * i64::from(grant.tokens);
                        break;
                    }
                    Tokens::Later(at) => own = at.0,
                    Tokens::Stale => prop_assert!(false, "nothing has changed"),
                }
            }
        }
    }

    /// Who sleeps over its tokens has lost them: what it may send when it wakes is the burst, whatever it was given.
    #[test]
    fn a_stall_is_not_followed_by_a_burst(tokens in 1_u32..100, stall in 1_i64..120, burst in 1_u32..5) {
        let grant = Grant { from: Micros(0), interval_us: 50_000, tokens, burst };
        let mut purse = Purse::new(grant);
        let wakes = Micros(stall * 1_000_000);
        let mut at_once = 0;
        while purse.reserve(wakes, 1).is_some_and(|at| at <= wakes) {
            at_once += 1;
        }
        prop_assert!(at_once <= burst, "{at_once} at once");
    }
}
