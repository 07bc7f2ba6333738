//! What is lost, doubled or late, in the smallest scenarios that once went wrong.

use super::*;
use crate::effect::Effect;

#[test]
fn what_a_dead_holder_ended_is_told_though_another_took_its_row() {
    let around = Around { now: 5, suppressed: &[0], ..Around::default() };
    let Claim::Run(step) = claims(&queued(), &job(&queued(), "j1"), around) else { panic!() };
    // It dies before it could tell; the second comes first after the lease, then the first comes again.
    let taken = sending(&step.row, "j2", 65);
    check(claimed(&taken, "j1", now(66)), "replay: suppressed a");
}

#[test]
fn a_copy_that_holds_the_row_settles_it_though_a_late_one_was_first() {
    let first = sending(&queued(), "j1", 5);
    let second = sending(&first, "j1", 65);
    let late = settles_late(&second, "j1", 1, "0 ok", 70).unwrap().row;
    // The second copy dies: what comes again finds that it holds the row, not only that it settled something.
    check(claimed(&late, "j1", now(80)), "keep until 125");
    let step = settles(&late, "j1", "0 ok, 1 451", 80).unwrap();
    check(
        shown::step(&step),
        "waiting seq 2 claim 2 job due 440 wake 1040; a delivered by j1 copies 1; b 440 t1 | \
         job successor part 0 seq 2 due 440, delivered a, deferred b",
    );
    assert_eq!(settles_late(&step.row, "j1", 1, "0 ok", 81), None);
    assert_eq!(settles_late(&step.row, "j1", 2, "0 ok", 81), None);
    check(
        shown::claim(&claims(&step.row, &job(&queued(), "j1"), now(90))),
        "replay: job successor part 0 seq 2 due 440, delivered a, deferred b",
    );
}

#[test]
fn a_late_2xx_counts_though_a_copy_of_its_job_settled_a_deferral() {
    let first = sending(&queued(), "j1", 5);
    let second = settled(&sending(&first, "j1", 65), "j1", "0 451, 1 451", 66);
    let step = settles_late(&second, "j1", 1, "0 ok", 70).unwrap();
    check(shown::row(&step.row), "waiting seq 2 claim 2 job due 426 wake 1026; a delivered by j1; b 426 t1");
    assert_eq!(settles_late(&step.row, "j1", 1, "0 ok", 71), None);
}

#[test]
fn a_late_copy_does_not_take_the_delivery_from_the_job_that_made_it() {
    let first = sending(&queued(), "j1", 5);
    let done = settled(&sending(&first, "j2", 65), "j2", "0 ok, 1 ok", 66);
    let copied = settles_late(&done, "j1", 1, "0 ok", 70).unwrap().row;
    // The second died before it could tell.
    check(claimed(&copied, "j2", now(80)), "replay: delivered a, delivered b");
}

#[test]
fn what_came_late_is_told_though_its_job_was_acknowledged_and_its_process_died() {
    let first = sending(&queued(), "j1", 5);
    let second = sending(&first, "j2", 65);
    let late = settles_late(&second, "j1", 1, "0 ok", 70).unwrap().row;
    // Whoever settles next tells of it too.
    let step = settles(&late, "j2", "0 451, 1 451", 80).unwrap();
    check(shown::effects(&step.effects), "job successor part 0 seq 2 due 440, delivered a, deferred b");
    // If nobody does the clock sees to it.
    let done = settles_late(&settled(&second, "j2", "0 ok, 1 550", 80), "j1", 1, "1 ok", 90).unwrap().row;
    let Claim::Settle(taken) = claims(&done, &job(&done, "clock"), now(690)) else { panic!() };
    check(
        shown::step(&taken),
        "done seq 1 claim 2 wake -; a delivered by j2; b delivered by j1 | delivered b",
    );
    assert_eq!(told_of(&taken.row), None);
    // What another left untold stays so when one is told.
    let CancelStep::Now(cancelled) =
        cancel(&settled(&second, "j2", "0 451, 1 451", 80), at(85), job_id("caller"))
    else {
        panic!()
    };
    let both = settles_late(&cancelled.row, "j1", 1, "0 ok", 90).unwrap().row;
    let told = told_of(&both).unwrap().row;
    check(shown::row(&told), "done seq 2 claim 2 wake 690; a delivered by j1; b cancelled by caller");
    check(
        claimed(&told, "clock", now(690)),
        "settle: done seq 2 claim 2 wake -; a delivered by j1; b cancelled by caller | cancelled b",
    );
}

#[test]
fn a_bounce_is_told_though_a_caller_wants_another_try() {
    let done = settled(&sending(&queued(), "j1", 5), "j1", "0 550, 1 ok", 6);
    let Ok(Retry::Now(again)) = retry_now(&done, &|_| false, at(10), job_id("retry")) else { panic!() };
    check(
        shown::claim(&claims(&again.row, &job(&queued(), "j1"), now(20))),
        "replay: suppress a, bounced a, delivered b",
    );
}

#[test]
fn each_cancel_is_an_event_of_its_own() {
    let ids = |row: &Row, name: &str| -> Vec<_> {
        let CancelStep::Now(step) = cancel(row, at(10), job_id(name)) else { panic!() };
        let events = step.effects.iter().filter_map(|effect| match effect {
            Effect::Event(event) => Some(event.event_id.clone()),
            _ => None,
        });
        events.collect()
    };
    let CancelStep::Now(step) = cancel(&queued(), at(5), job_id("j1")) else { panic!() };
    let Ok(Retry::Now(again)) = retry_now(&step.row, &|_| false, at(6), job_id("retry")) else { panic!() };
    assert_ne!(ids(&queued(), "j1"), ids(&again.row, "j2"));
}

#[test]
fn a_cancelled_head_that_is_replayed_tells_of_the_time_when_it_was_cancelled() {
    let head = accepted(facts(), "a@x.example b@y.example");
    let CancelStep::Now(step) = cancel(&head, at(5), job_id("caller")) else { panic!() };
    let Claim::Settle(taken) = claims(&step.row, &job(&step.row, "clock"), now(700)) else { panic!() };
    assert_eq!(taken.effects, step.effects);
    // So does a second cancel that finds a part still missing.
    let again = cancel_absent(&step.row, 2, at(20), job_id("j1")).unwrap();
    assert_eq!(again.effects, step.effects[3..]);
}

#[test]
fn a_released_heads_parts_are_not_held() {
    let mut head = accepted(facts(), "a@x.example b@y.example");
    (head.state, head.hold) = (State::Waiting, Some("h".to_owned()));
    check(
        claimed(&head, "j1", now(5)),
        "settle: split seq 1 claim 0 wake - by j1 | \
         row 1 [queued seq 1 claim 0 job due 5 wake 605; a 0], job successor part 1 seq 1 due 5, \
         row 2 [queued seq 1 claim 0 job due 5 wake 605; b 0], job successor part 2 seq 1 due 5",
    );
}
