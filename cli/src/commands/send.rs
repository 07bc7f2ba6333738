//! `send`: submits one message, and follows it to its end if asked.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use posthaste_mail::{Lane, Mailbox};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::select::{Tag, tag, text};
use super::trace;
use crate::client::view::Message;
use crate::client::{Api, ApiArgs, Body, segment};
use crate::failure::{Failure, Outcome, say};
use crate::screen::style::{self, paint};
use crate::screen::{Form, Output, clean, print_json, timeline};

/// Largest message read from a file, in octets: what uploads and the local stack take.
const MESSAGE_OCTETS_MAX: u64 = 40 << 20;
/// How often a followed message is asked after, at first and at most.
const ASK_FIRST: Duration = Duration::from_millis(100);
const ASK_MAX: Duration = Duration::from_secs(2);
/// An API that does not answer is waited for this long: a restart takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Submit one message.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  posthaste send --from hello@acme.example --to ann@example.net --subject Hi --text 'Hello, Ann'
  posthaste send --from hello@acme.example --to defer-2@example.net --text Hi --tag kind=test --wait
  posthaste send --from bounces@acme.example --to ann@example.net letter.eml")]
pub(crate) struct Args {
    /// The sender; with FILE, MAIL FROM
    #[arg(long, value_name = "ADDRESS", value_parser = mailbox)]
    from: String,
    /// A recipient; may be repeated
    #[arg(long, value_name = "ADDRESS", required = true, value_parser = mailbox)]
    to: Vec<String>,
    /// The subject
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    subject: Option<String>,
    /// The text; `-` reads it from stdin
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    text: Option<String>,
    /// The HTML text
    #[arg(long, value_name = "HTML", conflicts_with = "file")]
    html: Option<String>,
    /// A further header field; may be repeated
    #[arg(long, value_name = "NAME: VALUE", conflicts_with = "file", value_parser = header)]
    header: Vec<(String, String)>,
    /// A label to find it by; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = tag)]
    tag: Vec<Tag>,
    /// transactional (the default) or bulk
    #[arg(long, value_name = "LANE", value_parser = lane)]
    lane: Option<Lane>,
    /// How long it may live, such as 4h
    #[arg(long, value_name = "SPAN")]
    expires_in: Option<String>,
    /// Not before this (RFC 3339)
    #[arg(long, value_name = "TIME")]
    send_at: Option<String>,
    /// Send it once however often this is said
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
    /// Follow it until it ends; exit 0 only if it is delivered to all
    #[arg(long)]
    wait: bool,
    /// A whole message (RFC 5322) to send as it is; `-` reads it from stdin
    #[arg(value_name = "FILE.eml")]
    file: Option<OsString>,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: Output,
}

fn mailbox(text: &str) -> Result<String, String> {
    Mailbox::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn lane(text: &str) -> Result<Lane, String> {
    Lane::parse(text).ok_or_else(|| "expected transactional or bulk".to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("expected NAME: VALUE".to_owned()),
    }
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = args.api.open()?;
    let form = args.output.form();
    let accepted = submit(&api, &args).await?;
    let id = text(&accepted, "id").to_owned();
    for warning in accepted["warnings"].as_array().into_iter().flatten() {
        say(&format!("warning: {}: {}", clean(text(warning, "field")), clean(text(warning, "detail"))));
    }
    if !args.wait {
        match form {
            Form::Json => print_json(&accepted)?,
            Form::People => {
                let recipients = accepted["recipients"].as_u64().unwrap_or(0);
                let s = if recipients == 1 { "" } else { "s" };
                let status = clean(text(&accepted, "status"));
                writeln!(anstream::stdout(), "{id}  {status}, {recipients} recipient{s}")?;
            }
        }
        return Ok(());
    }
    let (answer, message) = follow(&api, &id).await?;
    match form {
        Form::Json => print_json(&answer)?,
        Form::People => trace::show(&message)?,
    }
    if message.is_delivered() { Ok(()) } else { Err(Failure::FailedTold) }
}

async fn submit(api: &Api, args: &Args) -> Result<Value, Failure> {
    let headers: Vec<_> = args.idempotency_key.iter().map(|key| ("Idempotency-Key", key.as_str())).collect();
    let Some(file) = &args.file else {
        let body = submission(args)?;
        return Ok(api.ask(Method::POST, "v1/messages", &[], &headers, Body::Json(&body)).await?);
    };
    let message = read_message(Path::new(file))?;
    let query = envelope(args);
    let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Ok(api.ask(Method::POST, "v1/messages", &query, &headers, Body::Message(message)).await?)
}

/// The JSON form.
fn submission(args: &Args) -> Result<Value, Failure> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    put("from", json!(args.from));
    put("to", json!(args.to));
    put("subject", json!(args.subject.as_deref().unwrap_or("")));
    match (args.text.as_deref(), &args.html) {
        (Some("-"), _) => {
            let octets =
                read_all(io::stdin().lock()).map_err(|error| Failure::file(Path::new("stdin"), &error))?;
            let text =
                String::from_utf8(octets).map_err(|_| Failure::input("stdin: the text is no UTF-8"))?;
            put("text", json!(text));
        }
        (Some(text), _) => {
            put("text", json!(text));
        }
        (None, Some(_)) => {}
        (None, None) => {
            put("text", json!(""));
        }
    }
    if let Some(html) = &args.html {
        put("html", json!(html));
    }
    if !args.header.is_empty() {
        put("headers", json!(args.header));
    }
    if !args.tag.is_empty() {
        put(
            "tags",
            args.tag.iter().map(|tag| (tag.name.clone(), json!(tag.value))).collect::<Map<_, _>>().into(),
        );
    }
    if let Some(lane) = args.lane {
        put("lane", json!(lane));
    }
    for (name, value) in [("expires_in", &args.expires_in), ("send_at", &args.send_at)] {
        if let Some(value) = value {
            put(name, json!(value));
        }
    }
    Ok(body.into())
}

/// The envelope of the raw form.
fn envelope(args: &Args) -> Vec<(&'static str, String)> {
    let bare = |text: &str| {
        Mailbox::parse(text).map_or_else(|_| text.to_owned(), |mailbox| mailbox.address.to_string())
    };
    let mut query = vec![("mail_from", bare(&args.from))];
    query.extend(args.to.iter().map(|to| ("rcpt_to", bare(to))));
    query.extend(args.lane.map(|lane| ("lane", lane.to_string())));
    query.extend(args.tag.iter().map(|tag| ("tag", tag.query())));
    query.extend(args.expires_in.clone().map(|span| ("expires_in", span)));
    query.extend(args.send_at.clone().map(|time| ("send_at", time)));
    query
}

fn read_message(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = if path == Path::new("-") {
        read_all(io::stdin().lock())
    } else {
        std::fs::File::open(path).and_then(read_all)
    };
    read.map_err(|error| Failure::file(path, &error))
}

fn read_all(from: impl Read) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let read = from.take(MESSAGE_OCTETS_MAX + 1).read_to_end(&mut octets)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > MESSAGE_OCTETS_MAX {
        return Err(io::Error::other(format!("over {} MB", MESSAGE_OCTETS_MAX >> 20)));
    }
    Ok(octets)
}

/// Asks after a message until every recipient has its end, with a line of progress on a terminal.
async fn follow(api: &Api, id: &str) -> Result<(Value, Message), Failure> {
    let path = format!("v1/messages/{}", segment(id));
    let mut progress = Progress::new(id);
    let mut pause = ASK_FIRST;
    let mut silent_since: Option<tokio::time::Instant> = None;
    loop {
        match api.get(&path, &[]).await {
            Ok(answer) => {
                silent_since = None;
                let message = trace::read(answer.clone(), api)?;
                if message.is_final() {
                    progress.clear();
                    return Ok((answer, message));
                }
                progress.show(&message);
            }
            Err(error) if error.may_pass() => {
                let since = *silent_since.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() > PATIENCE {
                    progress.clear();
                    return Err(Failure::failed(format!(
                        "{id} was accepted, but can no longer be followed: {error}"
                    )));
                }
            }
            Err(error) => {
                progress.clear();
                return Err(error.into());
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(ASK_MAX);
    }
}

/// One line on stderr that is written over; nothing where stderr is no terminal.
struct Progress {
    id: String,
    on_terminal: bool,
}

impl Progress {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), on_terminal: io::stderr().is_terminal() }
    }

    fn show(&mut self, message: &Message) {
        if !self.on_terminal {
            return;
        }
        let ended = message.recipients.iter().filter(|recipient| recipient.status.is_final()).count();
        let now = trace::now();
        let line = match message.recipients.as_slice() {
            [one] => timeline::standing(one, now),
            all => format!("{} of {} recipients have their end", paint(style::STRONG, ended), all.len()),
        };
        let _ = write!(anstream::stderr(), "\r\x1b[K{}  {line}", self.id);
    }

    fn clear(&mut self) {
        if self.on_terminal {
            let _ = write!(anstream::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn arguments_become_a_submission_or_an_envelope() {
        let args = |line: &str| Line::try_parse_from(line.split('|')).map(|line| line.args);
        let given = args(
            "send|--from|Acme <a@acme.example>|--to|b@example.net|--tag|k=v|--lane|bulk|--header|X-A: 1",
        )
        .unwrap();
        assert_eq!(
            submission(&given).unwrap(),
            json!({"from": "Acme <a@acme.example>", "to": ["b@example.net"], "subject": "", "text": "",
                "headers": [["X-A", "1"]], "tags": {"k": "v"}, "lane": "bulk"})
        );
        let raw =
            args("send|--from|Acme <a@acme.example>|--to|b@example.net|--to|c@example.net|--tag|k=v|m.eml")
                .unwrap();
        let query: Vec<String> =
            envelope(&raw).iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            query,
            ["mail_from=a@acme.example", "rcpt_to=b@example.net", "rcpt_to=c@example.net", "tag=k:v"]
        );
        assert!(args("send|--from|nobody|--to|b@example.net").is_err());
        assert!(args("send|--from|a@b.example").is_err());
        assert!(args("send|--from|a@b.example|--to|c@d.example|--subject|S|m.eml").is_err());
    }
}
