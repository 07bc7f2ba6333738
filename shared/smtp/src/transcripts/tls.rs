//! STARTTLS and AUTH.

use super::*;
use crate::StartTls;

const OFFERED: &str = "S 220 mx\nC EHLO us.example\nS 250-mx\\n250 STARTTLS";
const SENT: &str = "
    C MAIL FROM:<a@us.example>
    S 250 ok
    C RCPT TO:<r1@x.example>
    S 250 ok
    C DATA
    S 354 go
    B
    S 250 ok
";
const DELIVERED: &str = "delivered 250; reusable; 4 trips, dot";
const BOTH_REQUIRED: [TlsMode; 2] = [TlsMode::Encrypt, TlsMode::Verify];

fn mode(tls: TlsMode) -> Case {
    Case { tls, ..Case::default() }
}

#[test]
fn tls_that_cannot_be_had_matters_only_where_it_is_required() {
    let absent = "S 220 mx\nC EHLO us.example\nS 250 mx";
    mode(TlsMode::Opportunistic).check(&format!("{absent}\n{SENT}"), DELIVERED);
    for tls in BOTH_REQUIRED {
        mode(tls).check(&format!("{absent}\nC QUIT"), "no tls: not offered");
    }
    for code in [454, 502] {
        let refused = format!("{OFFERED}\nC STARTTLS\nS {code} no");
        mode(TlsMode::Opportunistic).check(&format!("{refused}\n{SENT}"), DELIVERED);
        for tls in BOTH_REQUIRED {
            mode(tls).check(&format!("{refused}\nC QUIT"), &format!("no tls: refused: {code} no"));
        }
    }
    mode(TlsMode::Opportunistic)
        .check(&format!("{OFFERED}\nC STARTTLS\nS 421 no\nC QUIT"), "replied tls 421");
    mode(TlsMode::Opportunistic).check(&format!("{OFFERED}\nC STARTTLS\nX"), "handshake");
    mode(TlsMode::Never).check(&format!("{OFFERED}\n{SENT}"), DELIVERED);
}

#[test]
fn a_handshake_that_failed_before_is_skipped_only_where_tls_is_optional() {
    let habits = Habits { starttls: StartTls::Skip, ..Habits::default() };
    Case { habits, ..mode(TlsMode::Opportunistic) }.check(&format!("{OFFERED}\n{SENT}"), DELIVERED);
    Case { habits, ..mode(TlsMode::Encrypt) }.check(&format!("{OFFERED}\nC STARTTLS\nX"), "handshake");
}

#[test]
fn the_handshake_fails_as_a_handshake() {
    for tls in [TlsMode::Opportunistic, TlsMode::Encrypt, TlsMode::Verify] {
        mode(tls).check(&format!("{OFFERED}\nC STARTTLS\nS 220 go\nR 5\nX"), "handshake");
        mode(tls).check(&format!("{OFFERED}\nC STARTTLS\nS 220 go\nR 5\nZ"), "handshake");
        mode(tls).check(&format!("{OFFERED}\nC STARTTLS\nS 220 go\nR 5\nD 454 broken\nX"), "handshake");
    }
}

#[test]
fn what_stands_behind_starttls_is_dropped_with_the_connection() {
    for tls in [TlsMode::Opportunistic, TlsMode::Verify] {
        mode(tls).check(&format!("{OFFERED}\nC STARTTLS\nS 220 go\\n250 evil"), "injected");
        mode(tls).check(&format!("{OFFERED}\nC STARTTLS\nS 220-go\\n220 go\\n2"), "injected");
    }
}

#[test]
fn certificates_are_judged_as_the_mode_wants() {
    let encrypted = format!("{OFFERED}\nC STARTTLS\nS 220 go\nT\nC EHLO us.example\nS 250 mx\n{SENT}");
    let check = |tls: TlsMode, trust: Trusted, expected: &str| {
        Case { trust, ..mode(tls) }.check(&encrypted, expected);
    };
    let [verified, unverified] =
        ["verified", "unverified"].map(|trust| format!("TLSv1.3 {trust}\n{DELIVERED}"));
    for tls in [TlsMode::Opportunistic, TlsMode::Encrypt] {
        check(tls, Trusted::No, &unverified);
        check(tls, Trusted::OtherName, &unverified);
        check(tls, Trusted::Yes, &verified);
    }
    check(TlsMode::Verify, Trusted::Yes, &verified);
    let refused = format!("{OFFERED}\nC STARTTLS\nS 220 go\nT");
    for trust in [Trusted::No, Trusted::OtherName] {
        Case { trust, ..mode(TlsMode::Verify) }.check(&refused, "handshake");
    }
}

#[test]
fn what_was_offered_in_clear_does_not_count_after_tls() {
    let script = "
        S 220 mx
        C EHLO us.example
        S 250-mx\\n250-PIPELINING\\n250-SIZE 10\\n250 STARTTLS
        C STARTTLS
        S 220 go
        T
        C EHLO us.example
        S 250 mx
    ";
    mode(TlsMode::Opportunistic)
        .check(&format!("{script}\n{SENT}"), &format!("TLSv1.3 unverified\n{DELIVERED}"));
}

#[test]
fn a_long_message_goes_through_tls() {
    let body = Bytes::from(b".0123456789\r\n".repeat(30_000));
    let rest = "C MAIL FROM:<a@us.example>\nC RCPT TO:<r1@x.example>\nC DATA\nS 250 ok\\n250 ok\\n354 go\nB\nS 250 ok";
    Case { body, pipe: 4096, ..mode(TlsMode::Encrypt) }.check(
        &format!("{OFFERED}\nC STARTTLS\nS 220 go\nT\nC EHLO us.example\nS 250-mx\\n250 PIPELINING\n{rest}"),
        "TLSv1.3 unverified\ndelivered 250; reusable; 2 trips, dot",
    );
    let body = Bytes::from(b".0123456789\r\n".repeat(30_000));
    Case { body, pipe: 4096, ..mode(TlsMode::Encrypt) }.check(
        &format!(
            "{OFFERED}\nC STARTTLS\nS 220 go\nT\nC EHLO us.example\nS 250-mx\\n250 PIPELINING\n{}\nR 1000\nX",
            &rest[..rest.len() - 11]
        ),
        "TLSv1.3 unverified\nlost body write failed; closed -; 2 trips, no dot",
    );
}

#[test]
fn credentials_go_only_over_verified_tls() {
    let auth = || Some(Credentials { username: "user".into(), password: "pass".into() });
    let check = |tls: TlsMode, trust: Trusted, mechanisms: &str, end: &str, expected: &str| {
        let script = format!(
            "{OFFERED}\nC STARTTLS\nS 220 go\nT\nC EHLO us.example\nS 250-mx\\n250 AUTH {mechanisms}\n{end}"
        );
        Case { auth: auth(), trust, ..mode(tls) }.check(&script, expected);
    };
    let delivered = format!("TLSv1.3 verified\n{DELIVERED}");
    let plain = format!("C AUTH PLAIN AHVzZXIAcGFzcw==\nS 235 ok\n{SENT}");
    check(TlsMode::Verify, Trusted::Yes, "LOGIN PLAIN", &plain, &delivered);
    check(TlsMode::Opportunistic, Trusted::Yes, "LOGIN PLAIN", &plain, &delivered);
    let repeated = format!("C AUTH PLAIN AHVzZXIAcGFzcw==\nS 334\nC AHVzZXIAcGFzcw==\nS 235 ok\n{SENT}");
    check(TlsMode::Verify, Trusted::Yes, "PLAIN", &repeated, &delivered);
    let login = format!(
        "C AUTH LOGIN\nS 334 VXNlcm5hbWU6\nC dXNlcg==\nS 334 UGFzc3dvcmQ6\nC cGFzcw==\nS 235 ok\n{SENT}"
    );
    check(TlsMode::Verify, Trusted::Yes, "LOGIN", &login, &delivered);
    let refused = "C AUTH PLAIN AHVzZXIAcGFzcw==\nS 535 5.7.8 no\nC QUIT";
    check(TlsMode::Verify, Trusted::Yes, "PLAIN", refused, "replied auth 535");
    check(TlsMode::Verify, Trusted::Yes, "CRAM-MD5", "C QUIT", "no auth: neither PLAIN nor LOGIN is offered");
    let unverified = "no auth: the connection is not TLS with a verified certificate";
    check(TlsMode::Opportunistic, Trusted::No, "PLAIN", "C QUIT", unverified);
    Case { auth: auth(), ..mode(TlsMode::Never) }
        .check("S 220 mx\nC EHLO us.example\nS 250-mx\\n250 AUTH PLAIN\nC QUIT", unverified);
}
