//! The sandbox as its peers see it: the dialogues of `transcripts.txt` over a pipe, and what is no dialogue of lines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use posthaste_mail::{Domain, Timestamp};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream, DuplexStream,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::{Config, Face, Feedback, FeedbackKind, Limits, Replied, Sandbox, SandboxRoute, Selection, Tries};

mod tries;

fn sandbox_with(limits: Limits, feedback: Option<mpsc::Sender<Feedback>>) -> Sandbox {
    let now: crate::Clock = Arc::new(|| Timestamp::parse_rfc3339("2026-11-23T12:00:00Z").unwrap());
    let (hostname, tries) = ("mx.sandbox.example".to_owned(), Tries::Counted);
    Sandbox::new(Config { hostname, limits, now, tries, feedback }).unwrap()
}

fn sandbox() -> Sandbox {
    sandbox_with(Limits::default(), None)
}

fn connect(sandbox: &Sandbox, face: Face) -> BufStream<DuplexStream> {
    let (client, server) = tokio::io::duplex(1 << 20);
    let sandbox = sandbox.clone();
    tokio::spawn(async move { sandbox.serve(server, face).await });
    BufStream::new(client)
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufStream<S>, octets: &[u8]) {
    stream.write_all(octets).await.unwrap();
    stream.flush().await.unwrap();
}

/// The next reply, its lines joined.
async fn reply<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufStream<S>) -> String {
    let mut reply = String::new();
    loop {
        let at = reply.len();
        stream.read_line(&mut reply).await.unwrap();
        if reply.as_bytes().get(at + 3) != Some(&b'-') {
            return reply.trim_end().to_owned();
        }
    }
}

/// Sends each command and asserts the code of its reply.
async fn dialogue<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufStream<S>, lines: &[(&str, &str)]) {
    for (command, code) in lines {
        say(stream, format!("{command}\r\n").as_bytes()).await;
        let reply = reply(stream).await;
        assert!(reply.starts_with(code), "{command}: {reply}");
    }
}

fn octets_of(line: &str) -> String {
    let text = line.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0");
    text.strip_suffix("\\c").map_or_else(|| format!("{text}\r\n"), str::to_owned)
}

async fn check_transcript(title: &str, lines: &[&str]) {
    let sandbox = sandbox();
    let face = lines.iter().find_map(|line| line.strip_prefix("face: ")).unwrap_or("Normal");
    let face = *Face::ALL.iter().find(|f| format!("{f:?}") == face).unwrap();
    let (mut stream, mut asked) = (connect(&sandbox, face), Instant::now());
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        let (kind, rest) = line.split_once(':').unwrap_or_else(|| panic!("{title}: {line}"));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match kind {
            "face" => {}
            "E" => {
                if at > 1 {
                    stream = connect(&sandbox, face);
                }
                assert!(reply(&mut stream).await.starts_with("220"), "{title}");
                dialogue(&mut stream, &[("EHLO client.example", "250")]).await;
            }
            "C" => {
                let mut octets = octets_of(rest);
                while let Some(more) = lines.get(at).and_then(|line| line.strip_prefix("C:")) {
                    octets.push_str(&octets_of(more.strip_prefix(' ').unwrap_or(more)));
                    at += 1;
                }
                asked = Instant::now();
                say(&mut stream, octets.as_bytes()).await;
            }
            "closed" => assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0, "{title}: open"),
            "waited" => {
                let waited = asked.elapsed().as_secs();
                assert_eq!(waited.to_string(), rest, "{title}");
            }
            "kept" => {
                let kept = sandbox.messages(&Selection::default()).len();
                assert_eq!(kept.to_string(), rest, "{title}: kept");
            }
            said => {
                let times: usize = said.strip_prefix("S*").map_or(1, |times| times.parse().unwrap());
                for _ in 0..times {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    assert_eq!(line, format!("{rest}\r\n"), "{title}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dialogues_go_as_written() {
    let text = include_str!("transcripts.txt");
    let mut checked = 0;
    for section in text.split("\n## ").skip(1) {
        let mut lines = section.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let title = lines.next().unwrap();
        check_transcript(title, &lines.collect::<Vec<_>>()).await;
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}

async fn greet(sandbox: &Sandbox) -> BufStream<DuplexStream> {
    let mut stream = connect(sandbox, Face::Normal);
    assert!(reply(&mut stream).await.starts_with("220"));
    dialogue(&mut stream, &[("EHLO client.example", "250")]).await;
    stream
}

/// Sends one message and asserts the reply to its dot.
async fn submit<S>(stream: &mut BufStream<S>, from: &str, to: &[&str], stuffed: &[u8], code: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut group = format!("MAIL FROM:<{from}>\r\n");
    for to in to {
        group.push_str(&format!("RCPT TO:<{to}>\r\n"));
    }
    say(stream, format!("{group}DATA\r\n").as_bytes()).await;
    for _ in 0..to.len() + 1 {
        let reply = reply(stream).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert!(reply(stream).await.starts_with("354"));
    say(stream, &[stuffed, b".\r\n"].concat()).await;
    let reply = reply(stream).await;
    assert!(reply.starts_with(code), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn messages_are_kept_octet_for_octet_with_their_envelope() {
    let sandbox = sandbox();
    let mut stream = greet(&sandbox).await;
    let mut raw =
        b"From: =?utf-8?q?B=C3=BCcher?= <a@b.example>\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n folded\r\n\
        Message-ID: <x@b.example>\r\n\r\n.\r\n..a\r\n\r\n"
            .to_vec();
    raw.extend((1..=255).filter(|octet| !matches!(octet, b'\r' | b'\n')));
    raw.extend_from_slice(b"\r\n");
    raw.resize(raw.len() + 100_000, b'x');
    raw.extend_from_slice(b"\r\n");
    let lines = raw.split_inclusive(|octet| *octet == b'\n');
    let stuffed: Vec<u8> = lines
        .flat_map(|line| if line.starts_with(b".") { [b".", line].concat() } else { line.to_vec() })
        .collect();
    submit(&mut stream, "a@b.example", &["Ann@example.net", "bob@example.org"], &stuffed, "250").await;

    let found = sandbox.messages(&Selection::default());
    let [summary] = &found[..] else { panic!("{found:?}") };
    assert_eq!(sandbox.raw(&summary.id).unwrap(), raw);
    let envelope =
        (summary.mail_from.to_string(), summary.rcpt_to.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(
        envelope,
        ("a@b.example".to_owned(), vec!["Ann@example.net".to_owned(), "bob@example.org".to_owned()])
    );
    assert_eq!(summary.subject.as_deref(), Some("grüße folded"));
    assert_eq!(
        (summary.size, summary.helo.as_str(), summary.tls.as_deref()),
        (raw.len(), "client.example", None)
    );
    assert_eq!((summary.message_id.as_deref(), summary.reply), (Some("x@b.example"), Replied::Accepted));
    let received = sandbox.message(&summary.id).unwrap();
    assert_eq!(received.headers[1], ("Subject".to_owned(), "=?utf-8?q?gr=C3=BC=C3=9Fe?= folded".to_owned()));
    assert!(received.text.is_some() && received.html.is_none());
}

#[tokio::test(start_paused = true)]
async fn messages_are_found_paged_and_deleted() {
    let sandbox = sandbox();
    let mut stream = greet(&sandbox).await;
    for to in ["ann@example.net", "bob@example.net", "ann@example.org"] {
        submit(&mut stream, "", &[to], b"\r\nx\r\n", "250").await;
    }
    let check = |to: Option<&str>, expected: usize| {
        assert_eq!(sandbox.messages(&Selection { to, ..Selection::default() }).len(), expected, "{to:?}");
    };
    check(None, 3);
    check(Some("ANN@example.net"), 1);
    check(Some("@example.net"), 2);
    check(Some("ann"), 0);
    let all = sandbox.messages(&Selection::default());
    assert_eq!(all[0].rcpt_to[0].to_string(), "ann@example.org");
    let page = sandbox.messages(&Selection { after: Some(&all[0].id), limit: 1, to: None });
    assert_eq!(page, all[1..2]);
    assert_eq!(sandbox.messages(&Selection { after: Some("sbx_x"), ..Selection::default() }), []);
    assert_eq!(sandbox.delete_messages(Some("bob@example.net")), 1);
    check(None, 2);
    assert!(sandbox.message(&all[1].id).is_none() && sandbox.raw(&all[0].id).is_some());
    sandbox.clear();
    check(None, 0);
}

#[tokio::test(start_paused = true)]
async fn reports_come_back_to_the_return_path() {
    let (sender, mut reports) = mpsc::channel(8);
    let sandbox = sandbox_with(Limits::default(), Some(sender));
    let mut stream = greet(&sandbox).await;
    let to = ["complaint@example.net", "late-bounce@example.net", "success@example.net"];
    submit(
        &mut stream,
        "b-1@bounces.example",
        &to,
        b"Subject: s\r\nMessage-ID: <1@b>\r\n\r\nsecret\r\n",
        "250",
    )
    .await;
    let mut check = |kind: FeedbackKind, mail_from: &str, parts: &[&str]| {
        let report = reports.try_recv().unwrap();
        let text = std::str::from_utf8(&report.raw).unwrap();
        assert_eq!((report.kind, report.mail_from.to_string().as_str()), (kind, mail_from));
        assert_eq!(report.rcpt_to.to_string(), "b-1@bounces.example");
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("secret") && !text.replace("\r\n", "").contains(['\r', '\n']), "{text}");
        let parsed = mail_parser::MessageParser::default().parse(&report.raw[..]).unwrap();
        assert_eq!(parsed.parts.len(), 4, "{text}");
    };
    check(
        FeedbackKind::Complaint,
        "complaints@mx.sandbox.example",
        &[
            "Feedback-Type: abuse\r\n",
            "Original-Rcpt-To: <complaint@example.net>\r\n",
            "Message-ID: <1@b>\r\n",
        ],
    );
    check(
        FeedbackKind::LateBounce,
        "",
        &[
            "Final-Recipient: rfc822; late-bounce@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n",
            "Message-ID: <1@b>\r\n",
        ],
    );
    submit(&mut stream, "", &to, b"\r\n", "250").await;
    assert!(reports.try_recv().is_err(), "nothing answers the null path");
}

#[tokio::test(start_paused = true)]
async fn what_peers_make_it_hold_is_bounded() {
    let limits = Limits { connections: 1, octets_in_flight: 1_000, ..Limits::default() };
    let sandbox = sandbox_with(limits, None);
    let mut stream = greet(&sandbox).await;
    let mut second = connect(&sandbox, Face::Normal);
    assert_eq!(
        reply(&mut second).await,
        "421 4.7.0 mx.sandbox.example has too many connections open, try again later"
    );
    submit(&mut stream, "", &["ann@example.net"], &[&[b'x'; 5_000][..], b"\r\n"].concat(), "452 4.3.1").await;
    submit(&mut stream, "", &["ann@example.net"], b"x\r\n", "250").await;
    say(&mut stream, &[b'x'; 3_000]).await;
    assert_eq!(reply(&mut stream).await, "500 5.5.6 Line too long");
    drop((stream, second));
    tokio::time::sleep(Duration::from_secs(5)).await;
    // The seat and the room came back.
    let mut stream = greet(&sandbox).await;
    submit(&mut stream, "", &["ann@example.net"], &[&[b'x'; 900][..], b"\r\n"].concat(), "250").await;
    dialogue(&mut stream, &[("MAIL FROM:<>", "250")]).await;
    for n in 0..crate::RECIPIENTS_MAX {
        dialogue(&mut stream, &[(&format!("RCPT TO:<u{n}@example.net>"), "250")]).await;
    }
    dialogue(&mut stream, &[("RCPT TO:<one-more@example.net>", "452 4.5.3")]).await;
}

fn tls_client(sandbox: &Sandbox) -> tokio_rustls::TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(sandbox.certificate().to_vec().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// EHLO, STARTTLS and the handshake with the host of a domain.
async fn secure(
    sandbox: &Sandbox,
    domain: &str,
    injected: &str,
) -> std::io::Result<BufStream<tokio_rustls::client::TlsStream<TcpStream>>> {
    let SandboxRoute::Hosts(hosts) = sandbox.route(&Domain::parse(domain).unwrap()) else {
        panic!("{domain}")
    };
    let mut stream = BufStream::new(TcpStream::connect(hosts[0].address.unwrap()).await.unwrap());
    assert!(reply(&mut stream).await.starts_with("220"));
    dialogue(&mut stream, &[("EHLO client.example", "250"), (&format!("STARTTLS\r\n{injected}"), "220")])
        .await;
    let name = hosts[0].name.clone().try_into().unwrap();
    Ok(BufStream::new(tls_client(sandbox).connect(name, stream.into_inner()).await?))
}

#[tokio::test]
async fn starttls_starts_anew_and_is_broken_where_asked() {
    let sandbox = sandbox();
    let _listening = sandbox.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let mut stream = secure(&sandbox, "example.net", "MAIL FROM:<injected@b.example>").await.unwrap();
    dialogue(&mut stream, &[("MAIL FROM:<a@b.example>", "503 5.5.1 Send EHLO")]).await;
    say(&mut stream, b"EHLO again.example\r\n").await;
    assert!(!reply(&mut stream).await.contains("STARTTLS"));
    dialogue(&mut stream, &[("STARTTLS", "503")]).await;
    submit(&mut stream, "a@b.example", &["ann@example.net"], b"\r\nx\r\n", "250").await;
    let found = sandbox.messages(&Selection::default());
    assert_eq!((found[0].tls.as_deref(), found[0].helo.as_str()), (Some("TLSv1.3"), "again.example"));
    let broken = secure(&sandbox, "tlsbroken.example.net", "").await;
    assert!(broken.is_err_and(|e| e.to_string().contains("HandshakeFailure")), "a broken handshake");
}

#[tokio::test]
async fn every_face_listens_and_the_dead_one_refuses() {
    let sandbox = sandbox();
    let listening = sandbox.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let check = async |domain: &str, expected: &[&str]| {
        let SandboxRoute::Hosts(hosts) = sandbox.route(&Domain::parse(domain).unwrap()) else {
            panic!("{domain}")
        };
        let mut got = Vec::new();
        for host in hosts {
            got.push(match TcpStream::connect(host.address.unwrap()).await {
                Ok(stream) => reply(&mut BufStream::new(stream)).await[..3].to_owned(),
                Err(error) => format!("{:?}", error.kind()),
            });
        }
        assert_eq!(got, expected, "{domain}");
    };
    check("example.net", &["220"]).await;
    check("nostarttls.example.net", &["220"]).await;
    check("tlsbroken.example.net", &["220"]).await;
    check("deadmx.example.net", &["ConnectionRefused", "220"]).await;
    check("busy.example.net", &["421", "220"]).await;
    let normal = listening.addresses().normal;
    drop(listening);
    let SandboxRoute::Hosts(hosts) = sandbox.route(&Domain::parse("example.net").unwrap()) else { panic!() };
    assert_eq!(hosts[0].address, None);
    tokio::task::yield_now().await;
    assert!(TcpStream::connect(normal).await.is_err());
}

/// Ten senders at once; also shows the rate when asked with `--nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_are_served_at_once() {
    let sandbox = sandbox();
    let listening = sandbox.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listening.addresses().normal;
    let body = Arc::new(
        [
            b"Subject: x\r\n\r\n".to_vec(),
            b"seventy-eight octets or so make up a line of a message that somebody wrote..\r\n".repeat(128),
        ]
        .concat(),
    );
    let (senders, each) = (10, 50);
    let began = std::time::Instant::now();
    let tasks: Vec<_> = (0..senders)
        .map(|sender| {
            let body = body.clone();
            tokio::spawn(async move {
                let mut stream = BufStream::new(TcpStream::connect(address).await.unwrap());
                stream.get_ref().set_nodelay(true).unwrap();
                assert!(reply(&mut stream).await.starts_with("220"));
                dialogue(&mut stream, &[("EHLO client.example", "250")]).await;
                for _ in 0..each {
                    submit(&mut stream, "a@b.example", &[&format!("u{sender}@example.net")], &body, "250")
                        .await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = f64::from(senders * each) / began.elapsed().as_secs_f64();
    println!("{rate:.0} messages of {} octets a second", body.len());
    let found = sandbox.messages(&Selection { limit: usize::MAX, ..Selection::default() });
    assert_eq!(found.len(), (senders * each) as usize);
    assert!(found.iter().all(|m| sandbox.raw(&m.id).unwrap() == *body));
}
