//! The rows of the stage table before MAIL, but for TLS.

use super::*;
use crate::Hello;

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

fn check(script: &str, expected: &str) {
    Case::default().check(script, expected);
}

#[test]
fn the_banner_decides_first() {
    check("S 421 busy\nC QUIT", "replied banner 421");
    check("S 450 later\nC QUIT", "replied banner 450");
    check("S 554 go away\nC QUIT", "replied banner 554");
    check("S 521 no mail here\nC QUIT", "replied banner 521");
    check("X", "lost banner closed");
    check("Z", "lost banner timed out");
    check("S SSH-2.0-OpenSSH\nZ", "lost banner garbage");
    check("S 354 go ahead\nZ", "lost banner garbage");
    check("S 220-a\\n554 b\nZ", "lost banner garbage");
    Case { deadline: Duration::from_secs(10), ..Case::default() }.check("Z", "deadline");
}

#[test]
fn ehlo_that_is_unknown_becomes_helo() {
    let helo = "Habits { manner: Full, starttls: Try, hello: Helo }";
    for code in [500, 502, 504] {
        check(
            &format!("S 220 mx\nC EHLO us.example\nS {code} what\nC HELO us.example\nS 250 mx\n{SENT}"),
            &format!("{helo}\n{DELIVERED}"),
        );
        check(&format!("S 220 mx\nC EHLO us.example\nS {code} what\nX"), "lost ehlo write failed");
    }
    check("S 220 mx\nC EHLO us.example\nS 500 what\nC HELO us.example\nS 550 no\nC QUIT", "replied ehlo 550");
    let habits = Habits { hello: Hello::Helo, ..Habits::default() };
    Case { habits, ..Case::default() }
        .check(&format!("S 220 mx\nC HELO us.example\nS 250-mx\\n250 PIPELINING\n{SENT}"), DELIVERED);
}

#[test]
fn ehlo_otherwise_is_as_the_banner() {
    let check = |end: &str, expected: &str| check(&format!("S 220 mx\nC EHLO us.example\n{end}"), expected);
    check("S 421 busy\nC QUIT", "replied ehlo 421");
    check("S 450 later\nC QUIT", "replied ehlo 450");
    check("S 550 bad name\nC QUIT", "replied ehlo 550");
    check("X", "lost ehlo closed");
    check("Z", "lost ehlo timed out");
    check("S what\nZ", "lost ehlo garbage");
    check("S 334 what\nZ", "lost ehlo garbage");
}

#[tokio::test]
async fn a_host_that_closes_on_ehlo_is_greeted_anew_with_helo() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer { host: HOST.to_owned(), addr: listener.local_addr().unwrap() };
    let server = tokio::spawn(async move {
        for (greeting, answer) in
            [("EHLO us.example\r\n", "500 what\r\n"), ("HELO us.example\r\n", "250 mx\r\n")]
        {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 mx\r\n").await.unwrap();
            let mut heard = vec![0; greeting.len()];
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, greeting.as_bytes());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            // What is still unread would turn the close into a reset, and the reply could get lost.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let session = Session {
        ehlo_name: "us.example".to_owned(),
        tls: TlsMode::Opportunistic,
        auth: None,
        habits: Habits::default(),
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let tls = TlsContext::new(b"").unwrap();
    let connection = crate::open(&peer, &session, &tls, &Timeouts::default(), deadline).await.unwrap();
    assert_eq!(connection.habits().hello, Hello::Helo);
    drop(connection);
    server.await.unwrap();
}

#[tokio::test]
async fn nobody_listening_is_a_refused_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = Peer { host: HOST.to_owned(), addr: listener.local_addr().unwrap() };
    drop(listener);
    let session = Session {
        ehlo_name: "us.example".to_owned(),
        tls: TlsMode::Never,
        auth: None,
        habits: Habits::default(),
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let tls = TlsContext::new(b"").unwrap();
    let error = crate::open(&peer, &session, &tls, &Timeouts::default(), deadline).await.unwrap_err();
    assert_eq!(error, OpenError::Connect { how: crate::ConnectFailure::Refused });
}
