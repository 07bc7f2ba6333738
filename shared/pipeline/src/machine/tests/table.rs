//! One case a row of the table.

use super::*;
use crate::row::{Cancel, Dot, Ticket};

fn settling(row: &Row, name: &str, outcomes: &str, seconds: i64) -> String {
    settles(row, name, outcomes, seconds).map_or("not its own".to_owned(), |step| shown::step(&step))
}

fn late(row: &Row, name: &str, claim: u32, outcomes: &str, seconds: i64) -> String {
    settles_late(row, name, claim, outcomes, seconds).map_or("nothing".to_owned(), |step| shown::step(&step))
}

#[test]
fn acceptance_queues_a_row_with_its_wait_decided() {
    check(shown::row(&queued()), "queued seq 1 claim 0 job due 0 wake 600; a 0; b 0");
    let soon = Facts { send_at: Some(at(900)), ..facts() };
    check(shown::row(&accepted(soon, "a@x.example")), "queued seq 1 claim 0 job due 900 wake 1500; a 900");
    let later = Facts { send_at: Some(at(901)), ..facts() };
    check(shown::row(&accepted(later, "a@x.example")), "queued seq 1 claim 0 parked due 901 wake 1; a 901");
    let heads = accepted(facts(), "a@x.example b@y.example");
    check(shown::row(&heads), "queued seq 1 claim 0 job due 0 wake 600");
}

#[test]
fn a_head_is_split_and_split_again_for_the_job_that_did_it() {
    let head = accepted(facts(), "a@x.example b@y.example c@x.example");
    let parts = "row 1 [queued seq 1 claim 0 job due 5 wake 605; a 0; c 0], job successor part 1 seq 1 due 5, \
                 row 2 [queued seq 1 claim 0 job due 5 wake 605; b 0], job successor part 2 seq 1 due 5";
    check(claimed(&head, "j1", now(5)), &format!("settle: split seq 1 claim 0 wake - by j1 | {parts}"));
    let Claim::Settle(split) = claims(&head, &job(&head, "j1"), now(5)) else { panic!() };
    check(claimed(&split.row, "j1", now(5)), &format!("replay: {parts}"));
    check(claimed(&split.row, "j2", now(5)), "drop");
}

#[test]
fn what_comes_too_early_waits_in_its_queue_or_is_sent_by_the_clock() {
    let soon = accepted(Facts { send_at: Some(at(900)), ..facts() }, "a@x.example");
    check(claimed(&soon, "j1", now(10)), "keep until 900");
    let parked = accepted(Facts { send_at: Some(at(2000)), ..facts() }, "a@x.example");
    check(claimed(&parked, "j1", now(10)), "drop");
}

#[test]
fn a_hold_parks_until_it_is_released_or_the_row_expires() {
    let held = Around { now: 5, hold: Some("h"), ..Around::default() };
    let parked = "waiting seq 2 claim 0 parked due 0 wake 14400 hold h; a 0; b 0";
    check(claimed(&queued(), "j1", held), &format!("hold: {parked} | "));
    let Claim::Hold(step) = claims(&queued(), &job(&queued(), "j1"), held) else { panic!() };
    // Should it have died before it read the hold again, it comes again and is told that it was the one.
    check(shown::claim(&claims(&step.row, &job(&queued(), "j1"), held)), "replay: ");
    check(shown::claim(&claims(&step.row, &job(&queued(), "j2"), held)), "drop");
    // Released.
    check(
        claimed(&step.row, "j2", now(100)),
        "run: sending seq 2 claim 1 wake 760 by j2 lease 160; a 0; b 0 | ",
    );
    check(
        claimed(&step.row, "j2", now(14_400)),
        "settle: done seq 2 claim 0 wake -; a expired by j2; b expired by j2 | expired a, expired b",
    );
}

#[test]
fn a_row_released_before_its_time_waits_for_it() {
    let early = accepted(Facts { send_at: Some(at(3000)), ..facts() }, "a@x.example b@y.example");
    let mut held = early;
    (held.state, held.hold, held.wake) = (State::Waiting, Some("h".to_owned()), Some(held.expires));
    check(claimed(&held, "j1", now(10)), "settle: waiting seq 2 claim 0 parked due 3000 wake 2100 | ");
    check(
        claimed(&held, "j1", now(2990)),
        "settle: waiting seq 2 claim 0 job due 3000 wake 3600 | job successor part 0 seq 2 due 3000",
    );
}

#[test]
fn a_turn_that_is_far_off_is_waited_for_alone() {
    let ticket = || Ticket { site: "mx.x.example".to_owned(), place: 7 };
    let parks = |row: &Row, name: &str, due: i64, seconds: i64| {
        let step = park(row, &job(row, name), ticket(), at(due), at(seconds));
        step.map_or("not its own".to_owned(), |step| shown::step(&step))
    };
    let row = queued();
    check(parks(&row, "j1", 3605, 5), "waiting seq 2 claim 0 parked due 3605 wake 2705; a 0; b 0 | ");
    // Never so short that a job would be promised.
    check(parks(&row, "j1", 10, 5), "waiting seq 2 claim 0 parked due 906 wake 6; a 0; b 0 | ");
    let step = park(&row, &job(&row, "j1"), ticket(), at(3605), at(5)).expect("it is the job's");
    assert_eq!(step.row.ticket, Some(ticket()), "its place is kept");
    // The job that parked it comes again: nothing is left to do. Another copy of it is stale.
    check(claimed(&step.row, "j1", now(6)), "replay: ");
    check(parks(&step.row, "j1", 3605, 6), "not its own");
    check(claimed(&step.row, "j2", now(6)), "drop");
    check(parks(&sending(&queued(), "j1", 5), "j2", 3605, 6), "not its own");
    check(parks(&accepted(facts(), "a@x.example b@y.example"), "j1", 3605, 5), "not its own");
}

#[test]
fn a_release_sends_what_was_held_and_nothing_else() {
    let released = |row: &Row, seconds: i64| {
        let step = release(row, "h", at(seconds), job_id("clock"));
        step.map_or("nothing".to_owned(), |step| shown::step(&step))
    };
    let held = Around { now: 5, hold: Some("h"), ..Around::default() };
    let Claim::Hold(step) = claims(&queued(), &job(&queued(), "j1"), held) else { panic!() };
    check(
        released(&step.row, 100),
        "waiting seq 3 claim 0 job due 100 wake 700; a 0; b 0 | job clock part 0 seq 3 due 100",
    );
    let mut later = step.row.clone();
    later.due = at(5000);
    check(released(&later, 100), "waiting seq 3 claim 0 parked due 5000 wake 4100; a 0; b 0 | ");
    let other = Row { hold: Some("another".to_owned()), ..step.row.clone() };
    check(released(&other, 100), "nothing");
    check(released(&queued(), 100), "nothing");
    check(released(&sending(&queued(), "j1", 5), 100), "nothing");
}

#[test]
fn time_that_has_run_out_ends_what_is_open() {
    let row = settled(&sending(&queued(), "j1", 0), "j1", "0 ok, 1 451", 1);
    check(
        claimed(&row, "j2", now(14_400)),
        "settle: done seq 2 claim 1 wake -; a delivered by j1; b expired by j2 | expired b",
    );
    // A head's parts end by their own jobs.
    let head = accepted(facts(), "a@x.example b@y.example");
    check(
        claimed(&head, "j1", Around { now: 14_400, hold: Some("h"), ..Around::default() }),
        "settle: split seq 1 claim 0 wake - by j1 | row 1 [queued seq 1 claim 0 job due 14400 wake 15000; a 0], \
         job successor part 1 seq 1 due 14400, row 2 [queued seq 1 claim 0 job due 14400 wake 15000; b 0], \
         job successor part 2 seq 1 due 14400",
    );
}

#[test]
fn suppressed_recipients_are_final_and_the_rest_is_sent() {
    let one = Around { now: 5, suppressed: &[0], ..Around::default() };
    check(
        claimed(&queued(), "j1", one),
        "run: sending seq 1 claim 1 wake 600 by j1 lease 65; a suppressed by j1; b 0 | suppressed a",
    );
    let all = Around { now: 5, suppressed: &[0, 1], ..Around::default() };
    check(
        claimed(&queued(), "j1", all),
        "settle: done seq 1 claim 0 wake -; a suppressed by j1; b suppressed by j1 | suppressed a, suppressed b",
    );
    let Claim::Settle(step) = claims(&queued(), &job(&queued(), "j1"), all) else { panic!() };
    check(claimed(&step.row, "j1", all), "replay: suppressed a, suppressed b");
    check(claimed(&step.row, "j2", all), "drop");
}

#[test]
fn a_run_takes_the_row_for_the_time_of_a_lease() {
    check(
        claimed(&queued(), "j1", now(5)),
        "run: sending seq 1 claim 1 wake 600 by j1 lease 65; a 0; b 0 | ",
    );
    // A wake that comes while the lease lives would look for nothing.
    check(
        claimed(&queued(), "j1", now(590)),
        "run: sending seq 1 claim 1 wake 1250 by j1 lease 650; a 0; b 0 | ",
    );
    let row = sending(&queued(), "j1", 5);
    check(claimed(&row, "j2", now(64)), "keep until 65");
    check(claimed(&row, "j1", now(64)), "keep until 65");
}

#[test]
fn a_lapsed_lease_is_a_crash_and_the_fourth_puts_the_row_aside() {
    let mut row = sending(&queued(), "j1", 5);
    check(
        claimed(&row, "j2", now(65)),
        "run: sending seq 1 claim 2 wake 600 by j2 lease 125 crashes 1; a 0; b 0 | ",
    );
    row = sending(&row, "j2", 65);
    row = sending(&row, "j2", 125);
    row = sending(&row, "j2", 185);
    check(
        claimed(&row, "j2", now(245)),
        "settle: waiting seq 2 claim 4 parked due 14400 wake 14400 crashes 3; a 0; b 0 | \
         dead letter j2: 3 senders died while they had it",
    );
    let Claim::Settle(aside) = claims(&row, &job(&row, "j2"), now(245)) else { panic!() };
    check(
        shown::claim(&claims(&aside.row, &job(&row, "j2"), now(250))),
        "replay: dead letter j2: 3 senders died while they had it",
    );
    check(
        claimed(&aside.row, "clock", now(14_400)),
        "settle: done seq 2 claim 4 wake -; a expired by clock; b expired by clock | expired a, expired b",
    );
}

#[test]
fn a_lapsed_lease_past_the_expiry_or_a_cancel_ends_the_row() {
    let mut row = sending(&queued(), "j1", 14_390);
    check(
        claimed(&row, "j2", now(14_450)),
        "settle: done seq 1 claim 1 wake -; a expired by j2; b expired by j2 | expired a, expired b",
    );
    row.cancel = Cancel::Asked;
    check(
        claimed(&row, "j2", now(14_450)),
        "settle: done seq 1 claim 1 wake -; a cancelled by j2; b cancelled by j2 | cancelled a, cancelled b",
    );
}

#[test]
fn a_lapsed_lease_near_the_dot_is_ambiguous_for_whoever_was_on_the_way() {
    let mut row = sending(&guarded(Guarantee::AtMostOnce), "j1", 5);
    row.dot = Dot::Near;
    check(
        claimed(&row, "j1", now(65)),
        "settle: done seq 1 claim 1 wake -; a ambiguous by j1; b ambiguous by j1 | ambiguous a, ambiguous b",
    );
    // The second waits for a greylist: nothing of it was sent.
    row.recipients[1].due = at(360);
    check(
        claimed(&row, "j2", now(65)),
        "settle: waiting seq 2 claim 1 job due 360 wake 960; a ambiguous by j2; b 360 | \
         job successor part 0 seq 2 due 360, ambiguous a",
    );
    row.cancel = Cancel::Asked;
    check(
        claimed(&row, "j2", now(65)),
        "settle: done seq 1 claim 1 wake -; a ambiguous by j2; b cancelled by j2 | ambiguous a, cancelled b",
    );
}

#[test]
fn all_final_is_done() {
    let row = sending(&queued(), "j1", 5);
    check(
        settling(&row, "j1", "0 ok, 1 550", 6),
        "done seq 1 claim 1 wake -; a delivered by j1; b bounced by j1 | suppress b, delivered a, bounced b",
    );
}

#[test]
fn what_is_left_over_has_a_successor_when_it_is_due_first() {
    let row = sending(&queued(), "j1", 5);
    check(
        settling(&row, "j1", "0 451, 1 421", 6),
        "waiting seq 2 claim 1 job due 66 wake 666; a 366 t1; b 66 s1 | \
         job successor part 0 seq 2 due 66, deferred a, deferred b",
    );
    check(
        settling(&row, "j1", "0 ok, 1 again", 6),
        "waiting seq 2 claim 1 job due 6 wake 606; a delivered by j1; b 6 | \
         job successor part 0 seq 2 due 6, delivered a",
    );
    check(
        settling(&row, "j1", "0 first, 1 used", 6),
        "waiting seq 2 claim 1 job due 6 wake 606; a 366 t1; b 6 r1 | job successor part 0 seq 2 due 6, deferred a",
    );
    // Whoever was not come to waits a moment.
    check(
        settling(&row, "j1", "0 ok", 6),
        "waiting seq 2 claim 1 job due 9 wake 609; a delivered by j1; b 9 | \
         job successor part 0 seq 2 due 9, delivered a",
    );
}

#[test]
fn a_long_wait_is_parked_and_none_goes_past_the_expiry() {
    let mut row = sending(&queued(), "j1", 5);
    row.recipients[0].tries = 2;
    check(
        settling(&row, "j1", "0 451, 1 ok", 6),
        "waiting seq 2 claim 1 parked due 1446 wake 546; a 1446 t3; b delivered by j1 | deferred a, delivered b",
    );
    row.recipients[0].tries = 9;
    check(
        settling(&row, "j1", "0 451, 1 ok", 6),
        "waiting seq 2 claim 1 parked due 14400 wake 13500; a 14400 t10; b delivered by j1 | deferred a, delivered b",
    );
}

#[test]
fn the_third_used_up_connection_is_a_throttle() {
    let mut row = sending(&queued(), "j1", 5);
    row.recipients[0].reconnects = 2;
    check(
        settling(&row, "j1", "0 used, 1 ok", 6),
        "waiting seq 2 claim 1 job due 66 wake 666; a 66 s1; b delivered by j1 | \
         job successor part 0 seq 2 due 66, deferred a, delivered b",
    );
    // A transaction that was finished for others ends the row of them.
    check(
        settling(&row, "j1", "0 again, 1 ok", 6),
        "waiting seq 2 claim 1 job due 6 wake 606; a 6; b delivered by j1 | \
         job successor part 0 seq 2 due 6, delivered b",
    );
}

#[test]
fn a_reply_lost_at_the_dot_is_sent_again_or_never() {
    let row = sending(&queued(), "j1", 5);
    check(
        settling(&row, "j1", "0 lost, 1 ok", 6),
        "waiting seq 2 claim 1 parked due 1806 wake 906; a 1806 t1; b delivered by j1 | deferred a, delivered b",
    );
    let row = sending(&guarded(Guarantee::AtMostOnce), "j1", 5);
    check(
        settling(&row, "j1", "0 lost, 1 ok", 6),
        "done seq 1 claim 1 wake -; a ambiguous by j1; b delivered by j1 | ambiguous a, delivered b",
    );
}

#[test]
fn a_cancel_asked_for_ends_what_is_left_over() {
    let CancelStep::Asked(asked) = cancel(&sending(&queued(), "j1", 5), at(6), job_id("caller")) else {
        panic!()
    };
    check(shown::row(&asked.row), "sending seq 1 claim 1 wake 600 by j1 lease 65 cancel asked; a 0; b 0");
    check(
        settling(&asked.row, "j1", "0 ok, 1 451", 7),
        "done seq 1 claim 1 wake -; a delivered by j1; b cancelled by j1 | delivered a, cancelled b",
    );
}

#[test]
fn a_2xx_that_comes_late_counts_and_a_second_one_is_a_copy() {
    let lapsed = sending(&queued(), "j1", 5);
    let taken = sending(&lapsed, "j2", 65);
    check(settling(&taken, "j1", "0 ok, 1 ok", 70), "not its own");
    let step = settles_late(&taken, "j1", 1, "0 ok, 1 451", 70).unwrap();
    check(
        shown::step(&step),
        "sending seq 1 claim 2 wake 600 by j2 lease 125 crashes 1; a delivered by j1; b 0 | delivered a",
    );
    check(
        settling(&told_of(&step.row).unwrap().row, "j2", "0 ok, 1 ok", 80),
        "done seq 1 claim 2 wake -; a delivered by j1 copies 1; b delivered by j2 | delivered b",
    );
    let done = settled(&taken, "j2", "0 ok, 1 550", 80);
    check(
        late(&done, "j1", 1, "0 ok, 1 ok", 90),
        "done seq 1 claim 2 wake 690; a delivered by j2 copies 1; b delivered by j1 | delivered b",
    );
    check(late(&done, "j1", 1, "0 451, 1 550", 90), "nothing");
    let waiting = settled(&taken, "j2", "0 451, 1 ok", 80);
    check(
        late(&waiting, "j1", 1, "0 ok", 90),
        "done seq 2 claim 2 wake 690; a delivered by j1; b delivered by j2 | delivered a",
    );
}

#[test]
fn a_job_that_settled_here_replays_what_follows() {
    let row = settled(&sending(&queued(), "j1", 5), "j1", "0 550, 1 451", 6);
    let first = job(&queued(), "j1");
    check(
        shown::claim(&claims(&row, &first, now(10))),
        "replay: suppress a, job successor part 0 seq 2 due 366, bounced a, deferred b",
    );
    // Once the row has moved on it has no future to give any more.
    let moved = sending(&row, "j2", 366);
    check(shown::claim(&claims(&moved, &first, now(370))), "replay: suppress a, bounced a, deferred b");
    let done = settled(&moved, "j2", "1 ok", 371);
    check(shown::claim(&claims(&done, &first, now(380))), "replay: suppress a, bounced a, deferred b");
    check(claimed(&done, "j2", now(380)), "replay: delivered b");
}

#[test]
fn stale_jobs_are_dropped_and_impossible_ones_put_aside() {
    let row = settled(&sending(&queued(), "j1", 5), "j1", "0 550, 1 451", 6);
    check(shown::claim(&claims(&row, &job(&queued(), "j3"), now(10))), "drop");
    let mut ahead = job(&row, "j2");
    ahead.seq = 3;
    check(shown::claim(&claims(&row, &ahead, now(10))), "dead: it is ahead of its row: seq 3 of 2");
    let mut fresh = || job_id("successor");
    let mut nowhere = Situation { now: at(10), barred: &[], hold: None, fresh: &mut fresh };
    check(shown::claim(&claim(None, &ahead, &mut nowhere)), "dead: its row is gone");
}
