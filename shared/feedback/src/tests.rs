//! What reports say, and that nothing said in one can do harm.

use proptest::prelude::*;

use super::*;

/// A report in one line: `kind address action status category`, a recipient after another.
fn told(raw: &str) -> String {
    match read(raw.as_bytes()) {
        Report::Dsn(dsn) => {
            let recipients = dsn.recipients.iter().map(|r| {
                let status = r.status.as_deref().unwrap_or("-");
                format!("{} {:?} {status} {}", r.address, r.action, r.category).to_lowercase()
            });
            format!("dsn {}", recipients.collect::<Vec<_>>().join(", "))
        }
        Report::Complaint(complaint) => {
            format!("complaint {} {}", complaint.feedback_type, complaint.recipients.join(", "))
        }
        Report::Dmarc(about) => format!("dmarc {}", about.domain.unwrap_or_default()),
        Report::TlsRpt(about) => format!("tls-rpt {}", about.domain.unwrap_or_default()),
        Report::AutoReply => "auto-reply".to_owned(),
        Report::Other => "other".to_owned(),
    }
}

/// Messages and what they are: `=== expected`, then the message.
const CASES: &str = include_str!("cases.txt");

#[test]
fn reports_are_understood() {
    let mut wrong = Vec::new();
    for case in CASES.split("\n=== ").skip(1) {
        let (expected, raw) = case.split_once('\n').unwrap();
        let got = told(raw);
        if got != expected {
            wrong.push(format!("expected {expected}\ngot      {got}\n{raw}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn line_ends_decide_nothing() {
    for case in CASES.split("\n=== ").skip(1) {
        let (_, raw) = case.split_once('\n').unwrap();
        assert_eq!(told(&raw.replace('\n', "\r\n")), told(raw));
        assert_eq!(told(&raw.replace('\n', "\r")), told(raw));
    }
}

#[test]
fn the_message_that_came_back_is_named() {
    let check = |raw: &str, expected: Option<&str>| match read(raw.as_bytes()) {
        Report::Dsn(dsn) => assert_eq!(dsn.original_message_id.as_deref(), expected),
        other => panic!("{other:?}"),
    };
    let head =
        "From: MAILER-DAEMON@example.net\nSubject: failure notice\n\n<ann@example.net>:\nno such user\n\n";
    check(
        &format!("{head}--- Below this line is a copy of the message.\n\nMessage-ID: <1@acme.example>\n\nhi"),
        Some("1@acme.example"),
    );
    check(head, None);
}

/// Octets of a report that only a bound keeps from being read whole.
const LARGE_OCTETS: usize = 25 << 20;

#[test]
fn large_and_hostile_messages_are_read_within_bounds() {
    let began = std::time::Instant::now();
    let status = "Content-Type: message/delivery-status\n\nReporting-MTA: dns; a\n\nFinal-Recipient: rfc822; ann@example.net\nAction: failed\nStatus: 5.1.1\n\n";
    let mut large = format!(
        "Content-Type: multipart/report; boundary=b\n\n--b\n{status}--b\nContent-Type: message/rfc822\n\n"
    );
    large.push_str(&"x".repeat(LARGE_OCTETS));
    assert_eq!(told(&large), "dsn ann@example.net failed 5.1.1 bad-mailbox");
    read(("Content-Type: message/rfc822\n\n".repeat(40_000)).as_bytes());
    read(("Content-Type: multipart/mixed; boundary=a\n\n--a\n".repeat(40_000)).as_bytes());
    read(format!("Content-Type: multipart/mixed; boundary=a\n\n{}", "--a\n\n".repeat(200_000)).as_bytes());
    let many = "Final-Recipient: rfc822; ann@example.net\nAction: failed\n\n".repeat(20_000);
    match read(format!("Content-Type: message/delivery-status\n\n{many}").as_bytes()) {
        Report::Dsn(dsn) => assert!(dsn.recipients.len() <= RECIPIENTS_MAX),
        other => panic!("{other:?}"),
    }
    let prose = "From: MAILER-DAEMON@example.net\nSubject: failure notice\n\n";
    read(format!("{prose}{}", "ann@example.net... 550 no such user\n".repeat(40_000)).as_bytes());
    read(format!("{prose}{}", "@".repeat(1 << 20)).as_bytes());
    read(format!("{prose}{}", "a@".repeat(1 << 19)).as_bytes());
    read(format!("{prose}{}", "<".repeat(1 << 20)).as_bytes());
    read(format!("{}\n\n", "X: y\n".repeat(200_000)).as_bytes());
    read(format!("X: {}\n\n", "y\n ".repeat(300_000)).as_bytes());
    assert!(began.elapsed().as_secs() < HOSTILE_SECONDS_MAX, "{:?}", began.elapsed());
}

/// For all of the above, unoptimised, on a busy machine; what is not linear takes minutes.
const HOSTILE_SECONDS_MAX: u64 = 60;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_octets_are_read(raw in prop::collection::vec(any::<u8>(), 0..2_000)) {
        read(&raw);
    }

    #[test]
    fn any_damage_to_a_report_is_read(at in 0_usize..10_000, octets in prop::collection::vec(any::<u8>(), 0..40), case in 0_usize..40) {
        let cases: Vec<&str> = CASES.split("\n=== ").skip(1).collect();
        let (_, raw) = cases[case % cases.len()].split_once('\n').unwrap();
        let mut raw = raw.as_bytes().to_vec();
        let at = at % raw.len().max(1);
        let end = (at + octets.len() / 2).min(raw.len());
        raw.splice(at..end, octets);
        read(&raw);
    }
}
