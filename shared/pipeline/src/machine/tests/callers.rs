//! What callers ask for, and what the clock does.

use super::*;

#[test]
fn a_cancel_ends_what_is_open_and_the_clock_sees_that_it_is_told() {
    let asked = cancel(&queued(), at(5), job_id("caller"));
    check(
        shown::asked(&asked),
        "now: done seq 1 claim 0 wake 605; a cancelled by caller; b cancelled by caller | \
         cancelled a, cancelled b",
    );
    let CancelStep::Now(step) = asked else { panic!() };
    check(shown::asked(&cancel(&step.row, at(6), job_id("caller"))), "too late");
    check(
        shown::step(&told_of(&step.row).unwrap()),
        "done seq 1 claim 0 wake -; a cancelled by caller; b cancelled by caller | ",
    );
    // The caller's process died: the clock sends a job until one has taken it over.
    let clock = overdue(&step.row, at(605), job_id("clock"));
    check(
        shown::overdue(&clock),
        "job clock part 0 seq 1 due 605 then \
         done seq 1 claim 0 wake 1205; a cancelled by caller; b cancelled by caller | ",
    );
    let row = clock.unwrap().step.row;
    check(
        claimed(&row, "clock", now(606)),
        "settle: done seq 1 claim 0 wake -; a cancelled by caller; b cancelled by caller | \
         cancelled a, cancelled b",
    );
    let Claim::Settle(taken) = claims(&row, &job(&row, "clock"), now(606)) else { panic!() };
    check(claimed(&taken.row, "clock", now(607)), "replay: cancelled a, cancelled b");
    check(claimed(&taken.row, "j1", now(607)), "drop");
}

#[test]
fn a_cancelled_head_ends_every_part_however_far_it_was() {
    let head = accepted(facts(), "a@x.example b@y.example");
    let parts = "row 1 [done seq 1 claim 0 wake -; a cancelled by caller], cancelled a, \
                 row 2 [done seq 1 claim 0 wake -; b cancelled by caller], cancelled b";
    let asked = cancel(&head, at(5), job_id("caller"));
    check(
        shown::asked(&asked),
        &format!("now: split seq 1 claim 0 wake 605 by caller cancel asked | {parts}"),
    );
    let CancelStep::Now(step) = asked else { panic!() };
    check(
        claimed(&step.row, "j1", now(606)),
        &format!("settle: split seq 1 claim 0 wake - by caller cancel asked | {parts}"),
    );
    let Claim::Settle(taken) = claims(&step.row, &job(&step.row, "j1"), now(606)) else { panic!() };
    check(claimed(&taken.row, "j1", now(607)), &format!("replay: {parts}"));
    check(claimed(&taken.row, "j2", now(607)), "drop");
    // One that is being split is split no further.
    let Claim::Settle(split) = claims(&head, &job(&head, "j1"), now(5)) else { panic!() };
    let absent = cancel_absent(&split.row, 2, at(6), job_id("caller")).unwrap();
    assert_eq!(absent.expect, 0);
    check(shown::step(&absent), "done seq 1 claim 0 wake 606; b cancelled by caller | cancelled b");
    assert_eq!(cancel_absent(&split.row, 3, at(6), job_id("caller")), None);
}

#[test]
fn a_retry_now_begins_anew_with_what_is_not_delivered() {
    let retry = |row: &Row, suppressed: &str, seconds: i64| {
        let suppressed = |address: &Address| address.to_string().starts_with(suppressed);
        shown::retried(&retry_now(row, &suppressed, at(seconds), job_id("retry")))
    };
    let none = "nobody";
    let taken = sending(&queued(), "j1", 5);
    check(retry(&taken, none, 6), "it is being sent right now: try again when this attempt has ended");
    let waiting = settled(&taken, "j1", "0 ok, 1 451", 6);
    check(
        retry(&waiting, none, 10),
        "now: waiting seq 3 claim 1 job due 10 wake 610; a delivered by j1; b 10 | \
         job retry part 0 seq 3 due 10",
    );
    check(retry(&waiting, "b@", 10), "b@x.example is suppressed: remove it from the suppression list first");
    // An end that is taken back is told all the same.
    let done = settled(&taken, "j1", "0 ok, 1 550", 6);
    check(
        retry(&done, none, 20_000),
        "now: waiting seq 2 claim 1 job due 20000 wake 20600; a delivered by j1; b 20000 | \
         bounced b, job retry part 0 seq 2 due 20000",
    );
    check(retry(&settled(&taken, "j1", "0 ok, 1 ok", 6), none, 10), "nothing");
    let head = accepted(Facts { send_at: Some(at(5000)), ..facts() }, "a@x.example b@y.example");
    check(
        retry(&head, none, 10),
        "now: queued seq 2 claim 0 job due 10 wake 610 | job retry part 0 seq 2 due 10",
    );
}

#[test]
fn the_clock_sends_what_nobody_came_for_less_and_less_often() {
    let tick = |row: &Row, seconds: i64| shown::overdue(&overdue(row, at(seconds), job_id("clock")));
    let parked = accepted(Facts { send_at: Some(at(2000)), ..facts() }, "a@x.example");
    check(tick(&parked, 1099), "nothing");
    check(
        tick(&parked, 1130),
        "job clock part 0 seq 1 due 2000 then queued seq 1 claim 0 job due 2000 wake 2600; a 2000 | ",
    );
    let mut row = queued();
    check(tick(&row, 599), "nothing");
    for (seconds, wake) in
        [(600, 1200), (1200, 2400), (2400, 4800), (4800, 9600), (9600, 14_400), (14_400, 15_000)]
    {
        check(
            tick(&row, seconds),
            &format!(
                "job clock part 0 seq 1 due {seconds} then queued seq 1 claim 0 job due 0 wake {wake}; a 0; b 0 | "
            ),
        );
        row = overdue(&row, at(seconds), job_id("clock")).unwrap().step.row;
    }
    let held =
        claims(&queued(), &job(&queued(), "j1"), Around { now: 5, hold: Some("h"), ..Around::default() });
    let Claim::Hold(held) = held else { panic!() };
    check(tick(&held.row, 14_399), "nothing");
    check(
        tick(&held.row, 14_400),
        "job clock part 0 seq 2 due 14400 then waiting seq 2 claim 0 parked due 0 wake 15000 hold h; a 0; b 0 | ",
    );
}

#[test]
fn the_clock_leaves_a_living_holder_alone_and_replaces_a_lost_one() {
    let tick = |row: &Row, seconds: i64| shown::overdue(&overdue(row, at(seconds), job_id("clock")));
    let mut row = sending(&queued(), "j1", 5);
    check(
        tick(&row, 600),
        "job clock part 0 seq 1 due 600 then sending seq 1 claim 1 wake 1200 by j1 lease 65; a 0; b 0 | ",
    );
    row.lease = at(640);
    check(tick(&row, 600), " then sending seq 1 claim 1 wake 1240 by j1 lease 640; a 0; b 0 | ");
    check(tick(&settled(&row, "j1", "0 ok, 1 ok", 601), 10_000), "nothing");
}

#[test]
fn a_report_makes_a_bounce_of_what_was_delivered_and_of_nothing_else() {
    let reports = |row: &Row, outcome: &str, seconds: i64| {
        let told = all_told(outcome).remove(0);
        let name = job_id("caller");
        let step = bounced_late(row, &told, &name, at(seconds), &mut || job_id("successor"));
        step.map_or("nothing".to_owned(), |step| shown::step(&step))
    };
    let delivered = settled(&sending(&queued(), "j1", 5), "j1", "0 ok, 1 ok", 6);
    check(
        reports(&delivered, "0 550", 100),
        "done seq 1 claim 1 wake 700; a bounced by caller; b delivered by j1 | suppress a, bounced a",
    );
    let step =
        bounced_late(&delivered, &told(0, "550"), &job_id("caller"), at(100), &mut || job_id("s")).unwrap();
    check(reports(&step.row, "0 550", 200), "nothing");
    // One that is being sent for another of its recipients goes on for that one.
    let waiting = settled(&sending(&queued(), "j1", 5), "j1", "0 ok, 1 451", 6);
    check(
        reports(&waiting, "0 550", 100),
        "waiting seq 2 claim 1 job due 366 wake 966; a bounced by caller; b 366 t1 | suppress a, bounced a",
    );
    let again = sending(&waiting, "j2", 400);
    check(
        reports(&again, "0 550", 401),
        "sending seq 2 claim 2 wake 966 by j2 lease 460; a bounced by caller; b 366 t1 | suppress a, bounced a",
    );
    // What no receiver took cannot have come back.
    check(reports(&queued(), "0 550", 100), "nothing");
    check(reports(&waiting, "1 550", 100), "nothing");
    check(reports(&sending(&queued(), "j1", 5), "0 550", 6), "nothing");
    let bounced = settled(&sending(&queued(), "j1", 5), "j1", "0 550, 1 ok", 6);
    check(reports(&bounced, "0 550", 100), "nothing");
    // Lost at the dot: it was taken, and is not sent again.
    let lost = settled(&sending(&accepted(facts(), "a@x.example"), "j1", 5), "j1", "0 lost", 6);
    check(
        reports(&lost, "0 550", 100),
        "done seq 2 claim 1 wake 700; a bounced by caller | suppress a, bounced a",
    );
}
