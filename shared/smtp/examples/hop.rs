//! Sends N messages over one connection, one after the other, and says what that took: the hop alone, to measure
//! beside `smtp-source -d`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use posthaste_mail::{Address, ReversePath};
use posthaste_smtp::{
    After, Connection, ContentKind, Habits, Outcome, Peer, Proceed, Session, SmtpUtf8, Timeouts, TlsContext,
    TlsMode, Transaction, open,
};

/// Sends messages over one SMTP connection and prints {messages, seconds, cpu_seconds, round_trips_per_message}.
#[derive(Parser)]
struct Arguments {
    /// The receiver, such as 127.0.0.1:2525.
    addr: SocketAddr,
    /// How many messages.
    #[arg(long, default_value_t = 5000)]
    messages: u32,
    /// Octets of each, header and all.
    #[arg(long, default_value_t = 10240)]
    size: usize,
    /// Which TLS to use: never, or opportunistic.
    #[arg(long, default_value = "never", value_parser = ["never", "opportunistic"])]
    tls: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let transaction = transaction(arguments.size)?;
    let mut connection = connect(&arguments).await?;
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let mut round_trips = 0;
    for _ in 0..arguments.messages {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(900);
        let report = connection.transact(&transaction, deadline, std::future::ready(Proceed::Send)).await;
        if !matches!(report.recipients[..], [Outcome::Delivered { .. }]) {
            return Err(format!("not delivered: {:?}", report.recipients).into());
        }
        if report.connection != After::Reusable {
            return Err("the receiver takes no more on this connection".into());
        }
        round_trips += report.round_trips;
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
    connection.quit().await;
    println!(
        "{{\"messages\":{},\"seconds\":{seconds:.3},\"cpu_seconds\":{cpu:.3},\"round_trips_per_message\":{:.3}}}",
        arguments.messages,
        f64::from(round_trips) / f64::from(arguments.messages.max(1)),
    );
    Ok(())
}

async fn connect(arguments: &Arguments) -> Result<Connection, Box<dyn std::error::Error>> {
    let peer = Peer { host: "localhost".to_owned(), addr: arguments.addr };
    let tls = if arguments.tls == "never" { TlsMode::Never } else { TlsMode::Opportunistic };
    let ehlo_name = "hop.example.com".to_owned();
    let session = Session { ehlo_name, tls, auth: None, habits: Habits::default() };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    Ok(open(&peer, &session, &TlsContext::new(b"")?, &Timeouts::default(), deadline).await?)
}

fn transaction(size: usize) -> Result<Transaction, Box<dyn std::error::Error>> {
    let mut body = b"From: <hop@example.com>\r\nTo: <sink@example.net>\r\nSubject: hop\r\n\r\n".to_vec();
    let line = [&[b'x'; 76][..], b"\r\n"].concat();
    while body.len() + 2 < size {
        let octets = (size - body.len()).clamp(2, line.len());
        body.extend_from_slice(&line[line.len() - octets..]);
    }
    Ok(Transaction {
        mail_from: ReversePath::parse("hop@example.com")?,
        recipients: vec![Address::parse("sink@example.net")?],
        prefix: Bytes::new(),
        body: body.into(),
        content: ContentKind::SevenBit,
        smtputf8: SmtpUtf8::NotNeeded,
        xid: None,
        tries: Vec::new(),
    })
}

/// CPU time of this process's only thread, from the scheduler's own count in nanoseconds; 0 where there is none.
fn cpu_seconds() -> f64 {
    let counted = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = counted.split_ascii_whitespace().next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}
