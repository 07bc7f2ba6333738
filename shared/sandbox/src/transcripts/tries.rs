//! A sandbox that is told which try a message is on.

use super::*;

#[tokio::test]
async fn who_says_which_try_it_is_is_not_counted() {
    let config = Config {
        hostname: "mx.sandbox.example".to_owned(),
        limits: Limits::default(),
        now: Arc::new(|| Timestamp(0)),
        tries: Tries::Told,
        feedback: None,
    };
    let sandbox = Sandbox::new(config).unwrap();
    let mut stream = connect(&sandbox, Face::Normal);
    reply(&mut stream).await;
    say(&mut stream, b"EHLO c.example\r\n").await;
    assert!(reply(&mut stream).await.contains("250-XTRY\r\n"));
    let tries = [
        ("defer-2@b.example> XTRY=0", "451"),
        ("defer-2@b.example> XTRY=1", "451"),
        ("defer-2@b.example> XTRY=0", "451"),
        ("defer-2@b.example> XTRY=2", "250"),
        ("defer-1@b.example>", "451"),
        ("defer-1@b.example>", "250"),
    ];
    for (to, code) in tries {
        let rcpt = format!("RCPT TO:<{to}");
        let lines = [("MAIL FROM:<a@b.example> XID=m1", "250"), (rcpt.as_str(), code), ("RSET", "250")];
        dialogue(&mut stream, &lines).await;
    }
    for (tries, kept) in [("XTRY=0", ""), ("XTRY=1", "250 2.0.0 Ok: kept in the sandbox")] {
        let mut stream = connect(&sandbox, Face::Normal);
        reply(&mut stream).await;
        let rcpt = format!("RCPT TO:<drop@b.example> {tries}");
        let lines = [
            ("EHLO c.example", "250"),
            ("MAIL FROM:<a@b.example> XID=m2", "250"),
            (&*rcpt, "250"),
            ("DATA", "354"),
        ];
        dialogue(&mut stream, &lines).await;
        say(&mut stream, b"hello\r\n.\r\n").await;
        assert_eq!(reply(&mut stream).await, kept);
    }
}
