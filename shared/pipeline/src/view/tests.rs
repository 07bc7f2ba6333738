//! What outsiders see of rows, events and suppressions.

use posthaste_mail::{
    Address, JobId, Lane, MessageId, PartKey, Reply, ReversePath, Stage, Tenant, Timestamp,
};
use posthaste_policy::{Action, Category, Policy, RuleName, Scope, Suppress, Verdict};
use serde_json::{Value, json};

use super::*;
use crate::effect::{Evidence, Reason, Suppression};
use crate::row::{Attempt, Content, End, Facts, Guarantee, HeaderCharset, Outcome, Realm, Row, State};
use crate::stores::WaitingGroup;

fn at(seconds: i64) -> Timestamp {
    Timestamp((1_795_435_200 + seconds) * 1000)
}

fn row(to: &[&str], send_at: Option<Timestamp>) -> Row {
    let facts = Facts {
        request_hash: "h".to_owned(),
        spool: "s".to_owned(),
        size: 42,
        from: "Acme <a@acme.example>".to_owned(),
        subject: "Grüße".to_owned(),
        reverse_path: ReversePath::Null,
        lane: Lane::Bulk,
        tags: [("release".to_owned(), "v42".to_owned())].into(),
        accepted_at: at(0),
        send_at,
        lifetime_ms: 3_600_000,
        guarantee: Guarantee::AtLeastOnce,
        tls: None,
        content: Content::SevenBit,
        header: HeaderCharset::Ascii,
        realm: Realm::World,
        sender: None,
        bounces: None,
        notices: crate::row::Told::Unwanted,
    };
    let to: Vec<Address> = to.iter().map(|text| Address::parse(text).unwrap()).collect();
    Row::accepted(MessageId::from_random([7; 16]), Tenant::default_tenant(), facts, &to)
}

fn attempt(action: Action, reply: &str) -> Attempt {
    Attempt {
        n: 1,
        job: JobId::from_random([1; 16]),
        at: at(1),
        stage: Stage::Rcpt,
        host: Some("mx1.example.net".to_owned()),
        ip: Some("192.0.2.7".parse().unwrap()),
        tls: Some("TLSv1.3 verified".to_owned()),
        reply: Reply::parse(reply),
        detail: None,
        verdict: Verdict {
            action,
            category: Category::Greylisted,
            scope: Scope::Message,
            suppress: Suppress::No,
            rule: RuleName::new("greylisted"),
        },
    }
}

fn ended(end: End) -> Outcome {
    Outcome::Final { end, by: None, at: at(9), copies: 1 }
}

#[test]
fn a_message_looks_as_the_contract_says() {
    let mut row = row(&["ann@example.net"], None);
    row.state = State::Waiting;
    row.recipients[0].due = at(360);
    row.recipients[0].attempts.push(attempt(Action::Retry, "451 4.7.1 come back"));
    let shown = serde_json::to_value(message(&[row], at(2)).unwrap()).unwrap();
    assert_eq!(
        shown,
        json!({
            "id": MessageId::from_random([7; 16]).as_str(), "status": "deferred", "from": "Acme <a@acme.example>",
            "subject": "Grüße", "lane": "bulk", "tags": {"release": "v42"},
            "accepted_at": "2026-11-23T12:00:00.000Z", "expires_at": "2026-11-23T13:00:00.000Z",
            "size": 42, "guarantee": "at-least-once", "sandbox": false,
            "recipients": [{"address": "ann@example.net", "domain": "example.net", "status": "deferred",
                "next_attempt_at": "2026-11-23T12:06:00.000Z",
                "attempts": [{"n": 1, "at": "2026-11-23T12:00:01.000Z", "host": "mx1.example.net", "ip": "192.0.2.7",
                    "tls": "TLSv1.3 verified", "reply": {"code": 451, "enhanced": "4.7.1", "text": "come back"},
                    "stage": "rcpt", "action": "retry", "category": "greylisted", "scope": "message", "rule": "greylisted"}]}],
        })
    );
    assert!(message(&[], at(0)).is_none());
}

#[test]
fn a_recipient_stands_as_its_row_and_its_last_outcome_say() {
    let check = |change: &dyn Fn(&mut Row), expected: Status| {
        let mut row = row(&["ann@example.net"], None);
        change(&mut row);
        assert_eq!(message(&[row], at(2)).unwrap().status, expected);
    };
    let tried = |row: &mut Row, action| row.recipients[0].attempts.push(attempt(action, "451 no"));
    check(&|_| {}, Status::Queued);
    check(&|row| row.state = State::Sending, Status::Sending);
    check(&|row| row.hold = Some("h".to_owned()), Status::Held);
    check(&|row| tried(row, Action::Retry), Status::Deferred);
    check(&|row| tried(row, Action::Slow), Status::Throttled);
    check(&|row| row.recipients[0].throttles = 1, Status::Throttled);
    check(&|row| (tried(row, Action::Slow), row.hold = Some("h".to_owned())).1, Status::Held);
    for (end, status) in [
        (End::Delivered, Status::Delivered),
        (End::Bounced, Status::Bounced),
        (End::Expired, Status::Expired),
        (End::Suppressed, Status::Suppressed),
        (End::Cancelled, Status::Cancelled),
        (End::Ambiguous, Status::Ambiguous),
    ] {
        check(&|row| row.recipients[0].outcome = ended(end), status);
        assert_eq!(Status::parse(status.as_str()), Some(status));
    }
    let scheduled = row(&["ann@example.net"], Some(at(60)));
    assert_eq!(message(std::slice::from_ref(&scheduled), at(2)).unwrap().status, Status::Scheduled);
    assert_eq!(message(&[scheduled], at(60)).unwrap().status, Status::Queued);
}

#[test]
fn a_head_speaks_for_the_parts_that_have_no_row_yet() {
    let head = row(&["ann@a.example", "bob@b.example"], None);
    let mut part = row(&["bob@b.example"], None);
    part.key = PartKey { message: part.key.message, part: 2 };
    part.recipients[0].outcome = ended(End::Delivered);
    let statuses = |rows: &[Row]| -> Vec<(String, Status)> {
        let view = message(rows, at(2)).unwrap();
        view.recipients.iter().map(|r| (r.address.to_string(), r.status)).collect()
    };
    let (ann, bob) = ("ann@a.example".to_owned(), "bob@b.example".to_owned());
    assert_eq!(
        statuses(std::slice::from_ref(&head)),
        [(ann.clone(), Status::Queued), (bob.clone(), Status::Queued)]
    );
    let rows = [head, part];
    assert_eq!(statuses(&rows), [(bob, Status::Delivered), (ann, Status::Queued)]);
    let view = message(&rows, at(2)).unwrap();
    assert_eq!((view.status, view.recipients[0].duplicates), (Status::Mixed, 1));
}

#[test]
fn the_queue_says_why() {
    let check = |change: &dyn Fn(&mut Row), expected: &str| {
        let mut sample = row(&["ann@example.net"], None);
        change(&mut sample);
        let group = WaitingGroup {
            domain: sample.domain.clone(),
            site: None,
            count: 1_000,
            sending: 0,
            oldest: at(0),
            next_due: at(60),
            first_expiry: at(3_600),
            sample: sample.row_key(),
        };
        let (groups, samples) = ([group], [Some(sample)]);
        let shown = queue(&groups, &samples, &Policy::default(), at(90));
        assert_eq!((shown[0].why.as_str(), shown[0].oldest_age_seconds), (expected, 90));
        // The built-in default: 100 a second.
        assert_eq!(shown[0].drain_seconds, Some(10));
    };
    let slow =
        |row: &mut Row| row.recipients[0].attempts.push(attempt(Action::Slow, "421 4.7.0 slow\\ndown"));
    check(&|_| {}, "not tried yet");
    check(&|row| row.state = State::Sending, "being sent");
    check(&|row| row.hold = Some("hold_1".to_owned()), "held by hold_1");
    check(&slow, "throttled at rcpt: 421 4.7.0 slow\\ndown");
}

#[test]
fn the_entry_that_lasts_longest_stands_for_a_mailbox() {
    let entry = |lane: Option<Lane>, reason: Reason, expires_at: Option<Timestamp>| Suppression {
        tenant: Tenant::default_tenant(),
        realm: Realm::World,
        address: Address::parse("ann@example.net").unwrap(),
        lane,
        reason,
        expires_at,
        created_at: at(0),
        evidence: Evidence { reply: Some("550 5.1.1 no".to_owned()), ..Evidence::default() },
    };
    let bounce = Reason::Bounce(Category::BadMailbox);
    let entries = [entry(None, bounce, Some(at(60))), entry(Some(Lane::Bulk), Reason::Complaint, None)];
    let shown = |now| SuppressionView::of(&entries[..1], now).map(|view| serde_json::to_value(view).unwrap());
    assert_eq!(shown(at(60)), None, "it has ended");
    let one = shown(at(59)).unwrap();
    assert_eq!(
        (&one["reason"], &one["category"], &one["lane"]),
        (&json!("bounce"), &json!("bad-mailbox"), &Value::Null)
    );
    assert_eq!(one["evidence"], json!({"reply": "550 5.1.1 no"}));
    let both = serde_json::to_value(SuppressionView::of(&entries, at(1)).unwrap()).unwrap();
    assert_eq!((&both["reason"], both["entries"].as_array().unwrap().len()), (&json!("complaint"), 2));
}
