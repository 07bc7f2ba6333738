//! What pacing must never do, over many histories.

use super::*;

fn pace(rate: &str, burst: u32, reach_ms: u64) -> Pace {
    Pace { rate: Rate::parse(rate).unwrap(), burst, reach: Duration::from_millis(reach_ms) }
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
    let check = |ahead: u64, rate: &str, share: f64, expected: Duration| {
        assert_eq!(line_wait(ahead, Rate::parse(rate).unwrap(), share), expected);
    };
    check(100, "10/s", 1.0, Duration::from_secs(10));
    check(100, "10/s", 0.5, Duration::from_secs(20));
    check(0, "10/s", 0.0, Duration::ZERO);
    check(100, "unlimited", 0.1, Duration::ZERO);
    check(100, "10/s", 0.0, LINE_WAIT_MAX);
    check(u64::MAX, "1/d", 1.0, LINE_WAIT_MAX);
}
