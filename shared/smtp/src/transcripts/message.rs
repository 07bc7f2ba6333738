//! The message itself: what a peer can take, how long one may wait, what happens while it is written.

use super::*;
use crate::Manner;

const TRANSACTION: &str = "
    C MAIL FROM:<a@us.example>
    C RCPT TO:<r1@x.example>
    C DATA
    S 250 ok\\n250 ok\\n354 go
";

fn greeted(extensions: &str) -> String {
    format!("S 220 mx\nC EHLO us.example\nS 250-mx\\n250-PIPELINING\\n250 {extensions}")
}

/// A body far over what the pipe holds.
fn long(octets: usize) -> Bytes {
    b"0123456789\r\n".repeat(octets / 12).into()
}

#[test]
fn what_a_peer_cannot_take_is_not_asked_of_it() {
    let eight = || Case { content: ContentKind::EightBit, ..Case::default() };
    let utf8 = || Case { smtputf8: SmtpUtf8::Needed, ..Case::default() };
    let rest = "C RCPT TO:<r1@x.example>\nC DATA\nS 250 ok\\n250 ok\\n354 go\nB\nS 250 ok";
    let delivered = "delivered 250; reusable; 2 trips, dot";
    eight().check(&greeted("X"), "unable: the peer does not offer 8BITMIME; reusable; 0 trips, no dot");
    utf8().check(&greeted("X"), "unable: the peer does not offer SMTPUTF8; reusable; 0 trips, no dot");
    Case::default().check(
        &greeted("SIZE 19"),
        "unable: message exceeds the peer's limit of 19 octets; reusable; 0 trips, no dot",
    );
    eight().check(
        &format!("{}\nC MAIL FROM:<a@us.example> BODY=8BITMIME\n{rest}", greeted("8BITMIME")),
        delivered,
    );
    utf8().check(&format!("{}\nC MAIL FROM:<a@us.example> SMTPUTF8\n{rest}", greeted("SMTPUTF8")), delivered);
    let plain = Habits { manner: Manner::Plain, ..Habits::default() };
    Case { habits: plain, content: ContentKind::EightBit, ..Case::default() }.check(
        &format!(
            "{}\nC MAIL FROM:<a@us.example>\nS 250 ok\nC RCPT TO:<r1@x.example>\nS 250 ok\nC DATA\nS 354 go\nB\nS 250 ok",
            greeted("8BITMIME\\n250 SIZE")
        )
        .replace("250 8BITMIME", "250-8BITMIME"),
        "delivered 250; reusable; 4 trips, dot",
    );
}

#[test]
fn declared_limits_are_kept() {
    let delivered = |after: &str| format!("delivered 250; {after}; 2 trips, dot");
    Case { transactions: 2, ..Case::default() }.check(
        &format!("{}\n{TRANSACTION}\nB\nS 250 ok\nC QUIT", greeted("LIMITS MAILMAX=1")),
        &format!("{}\nreconnect -; spent; 0 trips, no dot", delivered("spent")),
    );
    Case { recipients: 2, ..Case::default() }.check(
        &format!("{}\n{TRANSACTION}\nB\nS 250 ok", greeted("LIMITS RCPTMAX=1")),
        "delivered 250, next -; reusable; 2 trips, dot",
    );
}

#[test]
fn a_hundred_recipients_go_out_in_bounded_pieces() {
    let rcpts: Vec<String> = (1..=100).map(|n| format!("C RCPT TO:<r{n}@x.example>")).collect();
    let oks = ["250 ok"; 101].join("\\n");
    let script = format!(
        "{}\nC MAIL FROM:<a@us.example>\n{}\nC DATA\nS {oks}\\n354 go\nB\nS 250 ok",
        greeted("X"),
        rcpts.join("\n")
    );
    let expected = format!("{}; reusable; 2 trips, dot", ["delivered 250"; 100].join(", "));
    for pipe in [16, 64 * 1024] {
        Case { recipients: 100, pipe, ..Case::default() }.check(&script, &expected);
    }
}

#[test]
fn data_is_begun_only_with_time_for_its_reply() {
    let check = |deadline_s: u64, end: &str, expected: &str| {
        Case { deadline: Duration::from_secs(deadline_s), ..Case::default() }
            .check(&format!("{}\n{end}", greeted("X")), expected);
    };
    check(599, "", "unsent deadline; reusable; 0 trips, no dot");
    check(660, &format!("{TRANSACTION}\nB\nS 250 ok"), "delivered 250; reusable; 2 trips, dot");
    check(
        660,
        "C MAIL FROM:<a@us.example>\nC RCPT TO:<r1@x.example>\nC DATA\nS 250 ok\nD 250 ok\n\nD 354 ok and yet it took more than a minute to say it, octet by octet, a second each\nZ",
        "unsent deadline; closed -; 1 trips, no dot",
    );
    check(660, &format!("{TRANSACTION}\nB\nZ"), "ambiguous timed out; closed -; 2 trips, dot");
    Case { deadline: Duration::from_secs(610), ..Case::default() }.check(
        "S 220 mx\nC EHLO us.example\nS 250 mx\nC MAIL FROM:<a@us.example>\nD 250 thirteen\nC RCPT TO:<r1@x.example>\nS 250 ok\nC RSET\nS 250 ok",
        "unsent deadline; reusable; 2 trips, no dot",
    );
}

#[test]
fn the_caller_has_the_last_word() {
    Case { proceed: Proceed::Withhold, ..Case::default() }
        .check(&format!("{}\n{TRANSACTION}", greeted("X")), "unsent withheld; closed -; 1 trips, no dot");
}

#[test]
fn a_peer_may_answer_or_leave_while_the_message_is_written() {
    let check = |body: usize, end: &str, expected: &str| {
        Case { body: long(body), pipe: 4096, ..Case::default() }
            .check(&format!("{}\n{TRANSACTION}\n{end}", greeted("X")), expected);
    };
    check(1_000_000, "B\nS 250 ok", "delivered 250; reusable; 2 trips, dot");
    check(100_000, "R 5000\nX", "lost body write failed; closed -; 2 trips, no dot");
    check(100_000, "R 5000\nD 552 5.3.4 too big\nX", "refused body 552; closed 552; 2 trips, no dot");
    check(100_000, "R 5000\nD 451 4.3.0 disk\nZ", "refused body 451; closed 451; 2 trips, no dot");
    check(100_000, "R 5000\nD 250 ok already\nZ", "lost body garbage; closed -; 2 trips, no dot");
    check(100_000, "R 5000\nD ??\nZ", "lost body garbage; closed -; 2 trips, no dot");
    // A reply too many is not the reply to the message.
    check(100, "S 250 and another\nZ", "lost body garbage; closed -; 1 trips, no dot");
    check(100, "S 554 on second thoughts\nZ", "refused body 554; closed 554; 1 trips, no dot");
    check(100, "X", "lost body closed; closed -; 1 trips, no dot");
}

#[test]
fn only_from_the_dots_first_octet_on_is_a_loss_ambiguous() {
    // 96 octets of body, 3 of the dot's line, and a pipe that takes so many.
    let check = |pipe: usize, end: &str, expected: &str| {
        Case { body: long(96), pipe, ..Case::default() }
            .check(&format!("{}\n{TRANSACTION}\n{end}", greeted("X")), expected);
    };
    check(96, "W 1\nX", "lost body write failed; closed -; 2 trips, no dot");
    check(97, "W 1\nX", "ambiguous write failed; closed -; 2 trips, no dot");
    check(98, "W 1\nX", "ambiguous write failed; closed -; 2 trips, no dot");
    check(99, "W 1\nX", "ambiguous closed; closed -; 2 trips, dot");
    check(98, "W 200\nX", "ambiguous timed out; closed -; 2 trips, no dot");
    check(98, "D 451 disk\nX", "refused body 451; closed 451; 2 trips, no dot");
    check(98, "D 250 ok\nX", "ambiguous garbage; closed -; 2 trips, no dot");
}

#[test]
fn a_peer_that_reads_no_more_is_given_up() {
    let deaf = "
        S 220 mx
        C EHLO us.example
        S 250-mx\\n250 PIPELINING
        C MAIL FROM:<a@us.example>
        C RCPT TO:<r1@x.example>
        C DATA
        S 250 ok\\n250 ok\\n354 go
    ";
    let dripping = "250-".to_owned() + &"x".repeat(250);
    Case { body: long(100_000), pipe: 4096, ..Case::default() }
        .check(&format!("{deaf}\nD {dripping}\nR 10\nX"), "lost body timed out; closed -; 2 trips, no dot");
}

#[test]
fn replies_may_drip_but_not_for_ever() {
    let case = || Case { pipe: 1, ..Case::default() };
    case().check(
        "D 220 mx\nC EHLO us.example\nD 250 mx\nC MAIL FROM:<a@us.example>\nD 250-\nD 250 ok\nC RCPT TO:<r1@x.example>\nD 250 ok\nC DATA\nD 354 go\nB\nD 250 ok",
        "delivered 250; reusable; 4 trips, dot",
    );
    case().check(&format!("D 220 {}\nZ", "x".repeat(400)), "lost banner timed out");
}
