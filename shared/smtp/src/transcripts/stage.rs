//! The rows of the stage table that concern a transaction.

use super::*;

/// A peer with PIPELINING and SIZE, up to where MAIL can follow.
const GREETED: &str = "
    S 220 mx
    C EHLO us.example
    S 250-mx\\n250-PIPELINING\\n250 SIZE 1000000
";
/// One without extensions.
const PLAIN: &str = "
    S 220 mx
    C EHLO us.example
    S 250 mx
";
const MAIL: &str = "C MAIL FROM:<a@us.example> SIZE=20";
const RCPT: &str = "C RCPT TO:<r1@x.example>";

fn one(recipients: usize) -> Case {
    Case { recipients, ..Case::default() }
}

fn twice() -> Case {
    Case { transactions: 2, ..Case::default() }
}

#[test]
fn mail_refused_is_everybodys_and_keeps_the_connection() {
    for code in [450, 550] {
        one(2).check(
            &format!("{GREETED}\n{MAIL}\n{RCPT}\nC RCPT TO:<r2@x.example>\nC DATA\nS {code} no\\n503 x\\n503 x\\n503 x\nC RSET"),
            &format!("refused mail {code}, refused mail {code}; reusable; 1 trips, no dot"),
        );
        one(1).check(
            &format!("{PLAIN}\nC MAIL FROM:<a@us.example>\nS {code} no\nC RSET\nS 250 ok"),
            &format!("refused mail {code}; reusable; 1 trips, no dot"),
        );
    }
}

#[test]
fn a_parameter_refused_is_left_out_once() {
    let plainly = "C MAIL FROM:<a@us.example>\nC RCPT TO:<r1@x.example>\nC DATA";
    for code in [501, 555] {
        one(1).check(
            &format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS {code} SIZE?\\n503 x\\n503 x\n{plainly}\nS 250 ok\\n250 ok\\n354 go\nB\nS 250 ok"),
            "delivered 250; reusable; 3 trips, dot\nPlain",
        );
        one(1).check(
            &format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS {code} a\\n503 x\\n503 x\n{plainly}\nS {code} b\\n503 x\\n503 x\nC RSET"),
            &format!("refused mail {code}; reusable; 2 trips, no dot"),
        );
        one(1).check(
            &format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS {code} a\nX"),
            &format!("refused mail {code}; closed -; 1 trips, no dot"),
        );
    }
    // Without parameters it is about the path.
    one(1).check(
        &format!("{PLAIN}\nC MAIL FROM:<a@us.example>\nS 501 path\nC RSET\nS 250 ok"),
        "refused mail 501; reusable; 1 trips, no dot",
    );
}

#[test]
fn rcpt_refused_is_that_recipients_alone() {
    one(3).check(
        &format!(
            "{GREETED}\n{MAIL}\n{RCPT}\nC RCPT TO:<r2@x.example>\nC RCPT TO:<r3@x.example>\nC DATA
            S 250 ok\\n550 5.1.1 who\\n250 ok\\n450 4.2.1 later\\n354 go\nB\nS 250 queued"
        ),
        "refused rcpt 550, delivered 250, refused rcpt 450; reusable; 2 trips, dot",
    );
    one(2).check(
        &format!("{PLAIN}\nC MAIL FROM:<a@us.example>\nS 250 ok\n{RCPT}\nS 550 who\nC RCPT TO:<r2@x.example>\nS 251 forwarded\nC DATA\nS 354 go\nB\nS 250 ok"),
        "refused rcpt 550, delivered 250; reusable; 5 trips, dot",
    );
    one(1).check(
        &format!("{PLAIN}\nC MAIL FROM:<a@us.example>\nS 250 ok\n{RCPT}\nS 550 who\nC RSET\nS 250 ok"),
        "refused rcpt 550; reusable; 2 trips, no dot",
    );
}

#[test]
fn too_many_recipients_are_for_the_next_transaction() {
    let three =
        format!("{GREETED}\n{MAIL}\n{RCPT}\nC RCPT TO:<r2@x.example>\nC RCPT TO:<r3@x.example>\nC DATA");
    for reply in ["452 4.5.3 many", "552 5.5.3 many", "452 Too many recipients"] {
        one(3).check(
            &format!("{three}\nS 250 ok\\n250 ok\\n{reply}\\n{reply}\\n354 go\nB\nS 250 ok"),
            &format!("delivered 250, next {code}, next {code}; reusable; 2 trips, dot", code = &reply[..3]),
        );
    }
    // One that is accepted after all stands; a full mailbox is not a full transaction.
    one(3).check(
        &format!("{three}\nS 250 ok\\n452 4.2.2 full\\n452 4.5.3 many\\n250 ok\\n354 go\nB\nS 250 ok"),
        "refused rcpt 452, next 452, delivered 250; reusable; 2 trips, dot",
    );
    // One at a time, later ones are not asked.
    one(3).check(
        &format!("{PLAIN}\nC MAIL FROM:<a@us.example>\nS 250 ok\n{RCPT}\nS 250 ok\nC RCPT TO:<r2@x.example>\nS 452 4.5.3 many\nC DATA\nS 354 go\nB\nS 250 ok"),
        "delivered 250, next 452, next -; reusable; 5 trips, dot",
    );
}

#[test]
fn closing_within_the_list_leaves_the_answered_ones() {
    let two =
        format!("{GREETED}\n{MAIL}\n{RCPT}\nC RCPT TO:<r2@x.example>\nC RCPT TO:<r3@x.example>\nC DATA");
    one(3).check(
        &format!("{two}\nS 250 ok\\n550 5.1.1 who\\n250 ok\nX"),
        "refused rcpt 550, lost rcpt closed, lost rcpt closed; closed -; 1 trips, no dot",
    );
    one(3).check(
        &format!("{two}\nS 250 ok\\n550 5.1.1 who\\n250 ok\\n421 4.3.2 down\nX"),
        "refused rcpt 550, refused rcpt 421, refused rcpt 421; closed 421; 1 trips, no dot",
    );
    one(3).check(
        &format!("{two}\nS 250 ok\\n550 who\nZ"),
        "refused rcpt 550, lost rcpt timed out, lost rcpt timed out; closed -; 1 trips, no dot",
    );
    one(3).check(
        &format!("{two}\nS 250 ok\\n550 who\\nwhat?\nZ"),
        "refused rcpt 550, lost rcpt garbage, lost rcpt garbage; closed -; 1 trips, no dot",
    );
}

#[test]
fn data_for_nobody_is_ended_by_a_lone_dot() {
    for reply in ["250 queued as nothing", "554 no valid recipients"] {
        one(1).check(
            &format!(
                "{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS 250 ok\\n550 who\\n354 go\nC .\nS {reply}\nC RSET"
            ),
            "refused rcpt 550; reusable; 2 trips, no dot",
        );
    }
    one(1).check(
        &format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS 250 ok\\n550 who\\n354 go\nC .\nX"),
        "refused rcpt 550; closed -; 2 trips, no dot",
    );
    one(1).check(
        &format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS 250 ok\\n550 who\\n503 x\nC RSET"),
        "refused rcpt 550; reusable; 1 trips, no dot",
    );
}

#[test]
fn data_refused_is_everybodys() {
    for code in [451, 554] {
        one(2).check(
            &format!("{GREETED}\n{MAIL}\n{RCPT}\nC RCPT TO:<r2@x.example>\nC DATA\nS 250 ok\\n250 ok\\n550 who\\n{code} no\nC RSET"),
            &format!("refused data {code}, refused rcpt 550; reusable; 1 trips, no dot"),
        );
    }
    one(1).check(
        &format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS 250 ok\\n250 ok\\n421 down\nX"),
        "refused data 421; closed 421; 1 trips, no dot",
    );
    for answer in ["250 go?", "334 what", "what"] {
        one(1).check(
            &format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS 250 ok\\n250 ok\\n{answer}\nZ"),
            "lost data garbage; closed -; 1 trips, no dot",
        );
    }
    one(1).check(
        &format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS 250 ok\\n250 ok\nZ"),
        "lost data timed out; closed -; 1 trips, no dot",
    );
}

#[test]
fn the_dots_reply_is_the_verdict_and_without_one_nobody_knows() {
    let check = |end: &str, expected: &str| {
        let script = format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS 250 ok\\n250 ok\\n354 go\nB\n{end}");
        one(1).check(&script, expected);
    };
    check("S 250 queued", "delivered 250; reusable; 2 trips, dot");
    check("S 451 later", "refused dot 451; reusable; 2 trips, dot");
    check("S 554 spam", "refused dot 554; reusable; 2 trips, dot");
    check("S 421 bye", "refused dot 421; closed 421; 2 trips, dot");
    check("S 250 queued\\n421 bye", "delivered 250; closed 421; 2 trips, dot");
    check("X", "ambiguous closed; closed -; 2 trips, dot");
    check("Z", "ambiguous timed out; closed -; 2 trips, dot");
    check("S hello\nZ", "ambiguous garbage; closed -; 2 trips, dot");
    check("S 354 more\nZ", "ambiguous garbage; closed -; 2 trips, dot");
    check("S 25\nX", "ambiguous garbage; closed -; 2 trips, dot");
}

#[test]
fn a_reused_connection_may_be_used_up() {
    let first = format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS 250 ok\\n250 ok\\n354 go\nB\nS 250 ok");
    let delivered = "delivered 250; reusable; 2 trips, dot";
    let again = format!("{MAIL}\n{RCPT}\nC DATA");
    twice().check(
        &format!("{first}\n{again}\nS 250 ok\\n250 ok\\n354 go\nB\nS 250 ok"),
        &format!("{delivered}\n{delivered}"),
    );
    twice().check(
        &format!("{first}\n{again}\nS 421 enough\nX"),
        &format!("{delivered}\nreconnect 421; closed 421; 1 trips, no dot"),
    );
    twice().check(&format!("{first}\nX"), &format!("{delivered}\nreconnect -; closed -; 0 trips, no dot"));
    twice().check(
        &format!("{first}\n{again}\nX"),
        &format!("{delivered}\nreconnect -; closed -; 1 trips, no dot"),
    );
    twice().check(
        &format!("{first}\n{again}\nS 250 ok\\n421 enough\nX"),
        &format!("{delivered}\nrefused rcpt 421; closed 421; 1 trips, no dot"),
    );
    twice().check(
        &format!("{first}\n{again}\nZ"),
        &format!("{delivered}\nlost mail timed out; closed -; 1 trips, no dot"),
    );
    // A first transaction has no such excuse.
    one(1).check(
        &format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS 421 enough\nX"),
        "refused mail 421; closed 421; 1 trips, no dot",
    );
    one(1).check(
        &format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nX"),
        "lost mail closed; closed -; 1 trips, no dot",
    );
}

#[test]
fn after_rset_its_reply_comes_before_mails() {
    let refused = format!("{GREETED}\n{MAIL}\n{RCPT}\nC DATA\nS 250 ok\\n550 who\\n503 x\nC RSET");
    let first = "refused rcpt 550; reusable; 1 trips, no dot";
    twice().check(
        &format!("{refused}\n{MAIL}\n{RCPT}\nC DATA\nS 250 reset\\n250 ok\\n250 ok\\n354 go\nB\nS 250 ok"),
        &format!("{first}\ndelivered 250; reusable; 2 trips, dot"),
    );
    for (reply, code) in [("421 enough", "421"), ("500 RSET?", "500")] {
        twice().check(
            &format!("{refused}\n{MAIL}\n{RCPT}\nC DATA\nS {reply}\nX"),
            &format!("{first}\nreconnect {code}; closed {code}; 1 trips, no dot"),
        );
    }
    twice().check(
        &format!("{refused}\n{MAIL}\n{RCPT}\nC DATA\nS 250 reset\\n421 enough\nX"),
        &format!("{first}\nreconnect 421; closed 421; 1 trips, no dot"),
    );
    // One at a time, MAIL waits for it.
    twice().check(
        &format!("{PLAIN}\nC MAIL FROM:<a@us.example>\nS 450 no\nC RSET\nS 250 ok\nC MAIL FROM:<a@us.example>\nS 450 no\nC RSET\nS 250 ok"),
        "refused mail 450; reusable; 1 trips, no dot\nrefused mail 450; reusable; 1 trips, no dot",
    );
}
