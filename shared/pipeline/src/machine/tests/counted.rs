//! What a settled step counts for: the metric, the category, and how long it took since its acceptance.

use std::sync::Mutex;

use super::*;
use crate::meter::{Happened, Meter, Tale, metric_of};

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Meter for Heard {
    fn note(&self, happened: Happened<'_>) {
        let Happened::Told { event, waited } = happened else { panic!("a step only tells: {happened:?}") };
        let metric = metric_of(event).unwrap_or("nothing");
        let category = event.attempt.as_ref().map_or("none", |attempt| attempt.verdict.category.as_str());
        self.0.lock().unwrap().push(format!("{metric} {category} {}s", waited.as_secs()));
    }
}

fn heard(facts: Facts, outcomes: &str) -> String {
    let row = sending(&accepted(facts, "a@x.example b@x.example"), "j", 60);
    let heard = Heard::default();
    Tale::of(&settles(&row, "j", outcomes, 70).unwrap()).note(&heard);
    heard.0.into_inner().unwrap().join(", ")
}

#[test]
fn each_recipient_counts_once_for_what_is_told_of_it() {
    check(heard(facts(), "0 ok, 1 550"), "Delivered other 70s, Bounced bad-mailbox 70s");
    check(heard(facts(), "0 451, 1 ok"), "Deferred other 70s, Delivered other 70s");
}

#[test]
fn a_throttle_is_no_deferral() {
    check(heard(facts(), "0 421, 1 421"), "Throttled rate-limited 70s, Throttled rate-limited 70s");
}

#[test]
fn what_is_tried_again_at_once_is_told_of_nobody() {
    check(heard(facts(), "0 ok, 1 again"), "Delivered other 70s");
}

#[test]
fn a_message_that_was_to_wait_is_as_old_as_its_time() {
    let later = Facts { send_at: Some(at(50)), ..facts() };
    check(heard(later, "0 ok, 1 ok"), "Delivered other 20s, Delivered other 20s");
}
