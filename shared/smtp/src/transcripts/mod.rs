//! Whole dialogues as transcripts: what a scripted receiver says and expects, and what is reported of it.

mod chance;
mod message;
mod opening;
mod stage;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_mail::{Address, ReversePath};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::channel::Duplex;
use crate::{
    After, ContentKind, Credentials, Habits, Loss, OpenError, Outcome, Peer, Proceed, Report, Session,
    SmtpUtf8, Timeouts, TlsContext, TlsMode, Transaction, WhyUnsent, open_on,
};

const HOST: &str = "mx.example.net";

/// One dialogue. The defaults are the commonest: one message to one recipient, no TLS.
struct Case {
    tls: TlsMode,
    habits: Habits,
    auth: Option<Credentials>,
    recipients: usize,
    body: Bytes,
    content: ContentKind,
    smtputf8: SmtpUtf8,
    transactions: usize,
    proceed: Proceed,
    deadline: Duration,
    /// Octets that the pipe holds in each direction.
    pipe: usize,
    trust: Trusted,
}

/// Whether our side trusts the receiver's certificate.
#[derive(Clone, Copy, PartialEq)]
enum Trusted {
    No,
    Yes,
    /// It is trusted, but for another name.
    OtherName,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            tls: TlsMode::Never,
            habits: Habits::default(),
            auth: None,
            recipients: 1,
            body: Bytes::from_static(b"Subject: x\r\n\r\n.dot\r\n"),
            content: ContentKind::SevenBit,
            smtputf8: SmtpUtf8::NotNeeded,
            transactions: 1,
            proceed: Proceed::Send,
            deadline: Duration::from_secs(24 * 3600),
            pipe: 64 * 1024,
            trust: Trusted::No,
        }
    }
}

impl Case {
    /// Runs the script and compares what was reported: one line for opening, one for each transaction.
    ///
    /// Steps: `C line` expect it; `S line` say it (`\n` within begins another line of the same write); `B` expect the
    /// message and its dot; `R n` read n octets; `W n` wait n
    /// seconds; `D line` say it octet by octet, a second apart; `T` TLS handshake;
    /// `X` close; `Z` say nothing more. Before anything is said, nothing further may have come.
    #[track_caller]
    fn check(self, script: &str, expected: &str) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (got, heard) = runtime.block_on(self.run(script));
        let lines =
            |text: &str| text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n");
        assert_eq!(lines(&got), lines(expected), "receiver: {heard:?}\nscript:\n{script}");
        heard.unwrap();
    }

    async fn run(self, script: &str) -> (String, Result<(), String>) {
        let certificate = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
        let pem = certificate.cert.pem();
        let roots = if self.trust == Trusted::No { &b""[..] } else { pem.as_bytes() };
        let (ours, theirs) = tokio::io::duplex(self.pipe);
        let message = self.body.clone();
        let receiver = Receiver { stream: Box::new(theirs), said: true, message, certificate };
        let receiver = tokio::spawn(receiver.play(script.to_owned()));
        let reports = self.send(ours, &TlsContext::new(roots).unwrap()).await;
        (reports.join("\n"), receiver.await.unwrap())
    }

    async fn send(&self, ours: tokio::io::DuplexStream, tls: &TlsContext) -> Vec<String> {
        let host = if self.trust == Trusted::OtherName { "other.example.net" } else { HOST };
        let peer = Peer { host: host.to_owned(), addr: "192.0.2.1:25".parse().unwrap() };
        let session = Session {
            ehlo_name: "us.example".to_owned(),
            tls: self.tls,
            auth: self.auth.clone(),
            habits: self.habits,
        };
        let deadline = Instant::now() + self.deadline;
        let opened = open_on(ours, &peer, &session, tls, &Timeouts::default(), deadline).await;
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(error) => return vec![show_error(&error)],
        };
        let mut lines = Vec::new();
        if let Some(facts) = connection.tls() {
            lines.push(format!(
                "{} {}",
                facts.version,
                if facts.trust.is_verified() { "verified" } else { "unverified" }
            ));
        }
        if connection.habits() != self.habits {
            lines.push(format!("{:?}", connection.habits()));
        }
        let habits = connection.habits();
        for _ in 0..self.transactions {
            let report =
                connection.transact(&self.transaction(), deadline, std::future::ready(self.proceed)).await;
            lines.push(show(&report));
        }
        if connection.habits() != habits {
            lines.push(format!("{:?}", connection.habits().manner));
        }
        connection.quit().await;
        lines
    }

    fn transaction(&self) -> Transaction {
        let recipients = (1..=self.recipients).map(|n| Address::parse(&format!("r{n}@x.example")).unwrap());
        Transaction {
            mail_from: ReversePath::parse("a@us.example").unwrap(),
            recipients: recipients.collect(),
            prefix: Bytes::new(),
            body: self.body.clone(),
            content: self.content,
            smtputf8: self.smtputf8,
            xid: None,
            tries: Vec::new(),
        }
    }
}

fn show_error(error: &OpenError) -> String {
    match error {
        OpenError::Replied { stage, reply } => format!("replied {stage} {}", reply.code),
        OpenError::Lost { stage, how } => format!("lost {stage} {}", show_loss(how)),
        OpenError::NoTls { why } => format!("no tls: {why}"),
        OpenError::NoAuth { why } => format!("no auth: {why}"),
        OpenError::Handshake { .. } => "handshake".to_owned(),
        OpenError::Injected => "injected".to_owned(),
        OpenError::DeadlinePassed => "deadline".to_owned(),
        OpenError::Connect { how } => format!("connect {how}"),
    }
}

fn show_loss(how: &Loss) -> &'static str {
    match how {
        Loss::Closed => "closed",
        Loss::TimedOut => "timed out",
        Loss::Garbage(_) => "garbage",
        Loss::WriteFailed(_) => "write failed",
    }
}

fn show(report: &Report) -> String {
    let code =
        |reply: &Option<posthaste_mail::Reply>| reply.as_ref().map_or("-".to_owned(), |r| r.code.to_string());
    let outcomes: Vec<String> = report
        .recipients
        .iter()
        .map(|outcome| match outcome {
            Outcome::Delivered { reply } => format!("delivered {}", reply.code),
            Outcome::Refused { stage, reply } => format!("refused {stage} {}", reply.code),
            Outcome::NextTransaction { reply } => format!("next {}", code(reply)),
            Outcome::Unable { why } => format!("unable: {why}"),
            Outcome::Lost { stage, how } => format!("lost {stage} {}", show_loss(how)),
            Outcome::Ambiguous { how } => format!("ambiguous {}", show_loss(how)),
            Outcome::Reconnect { reply } => format!("reconnect {}", code(reply)),
            Outcome::Unsent { why: WhyUnsent::DeadlineTooNear } => "unsent deadline".to_owned(),
            Outcome::Unsent { why: WhyUnsent::Withheld } => "unsent withheld".to_owned(),
        })
        .collect();
    let after = match &report.connection {
        After::Reusable => "reusable".to_owned(),
        After::Spent => "spent".to_owned(),
        After::Closed { last } => format!("closed {}", code(last)),
    };
    let dot = if report.dot_at.is_some() { "dot" } else { "no dot" };
    format!("{}; {after}; {} trips, {dot}", outcomes.join(", "), report.round_trips)
}

/// The scripted receiver.
struct Receiver {
    stream: Box<dyn Duplex>,
    /// Whether the last step was to say something, or nothing was heard yet.
    said: bool,
    message: Bytes,
    certificate: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Receiver {
    async fn play(mut self, script: String) -> Result<(), String> {
        for step in script.lines().map(str::trim).filter(|step| !step.is_empty()) {
            let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
            match verb {
                "C" => {
                    let line = self.read_line().await;
                    if line != format!("{rest}\r\n") {
                        return Err(format!("heard {line:?}, expected {rest:?}"));
                    }
                }
                "S" => {
                    self.expect_quiet().await?;
                    let text = format!("{}\r\n", rest.replace("\\n", "\r\n"));
                    let _ = self.stream.write_all(text.as_bytes()).await;
                }
                "D" => {
                    for octet in format!("{rest}\r\n").bytes() {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        let _ = self.stream.write_all(&[octet]).await;
                    }
                }
                "B" => self.read_message().await?,
                "W" => tokio::time::sleep(Duration::from_secs(rest.parse().unwrap())).await,
                "R" => {
                    let mut octets = vec![0; rest.parse().unwrap()];
                    self.stream.read_exact(&mut octets).await.map_err(|e| format!("R: {e}"))?;
                }
                "T" => self.handshake().await?,
                "X" => return Ok(()),
                "Z" => {
                    let _ = self.stream.read_to_end(&mut Vec::new()).await;
                    return Ok(());
                }
                _ => return Err(format!("no such step: {step}")),
            }
            self.said = matches!(verb, "S" | "D");
        }
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        let rest = String::from_utf8_lossy(&rest);
        if rest.is_empty() || rest == "QUIT\r\n" { Ok(()) } else { Err(format!("heard {rest:?} at the end")) }
    }

    async fn read_line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            match self.stream.read_u8().await {
                Ok(octet) => line.push(octet),
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&line).into_owned()
    }

    async fn read_message(&mut self) -> Result<(), String> {
        let mut message = Vec::new();
        loop {
            let line = self.read_line().await;
            match line.as_str() {
                ".\r\n" => break,
                "" => return Err("the message has no end".to_owned()),
                line => message.extend_from_slice(line.strip_prefix('.').unwrap_or(line).as_bytes()),
            }
        }
        if message == self.message {
            Ok(())
        } else {
            Err(format!("another message: {} octets", message.len()))
        }
    }

    /// What comes before we have spoken was sent without waiting for us.
    async fn expect_quiet(&mut self) -> Result<(), String> {
        if self.said {
            return Ok(());
        }
        match tokio::time::timeout(Duration::from_millis(1), self.stream.read_u8()).await {
            Ok(Ok(octet)) => Err(format!("heard {:?} too early", char::from(octet))),
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    async fn handshake(&mut self) -> Result<(), String> {
        let key =
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.certificate.signing_key.serialize_der()));
        let chain = vec![self.certificate.cert.der().clone()];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
            .unwrap();
        let plain = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        match tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(plain).await {
            Ok(tls) => self.stream = Box::new(tls),
            // The client's refusal shows in its own report.
            Err(_) => return Ok(()),
        }
        Ok(())
    }
}
