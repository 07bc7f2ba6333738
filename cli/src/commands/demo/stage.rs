//! What a newcomer sees of the demo.

use std::io::{self, Write};

use posthaste_mail::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::cast::CAST;
use crate::client::view::{Attempt, Message, Status, moment};
use crate::commands::trace::now;
use crate::host::Host;
use crate::screen::style::{self, paint};
use crate::screen::{Form, clean, columns, fit, span, timeline, wrap};

/// Prints the demo; with JSON only its end is printed, by others.
pub(super) struct Stage {
    form: Form,
    began: Timestamp,
    columns: usize,
}

/// An event, as far as it is told.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "moment")]
    at: Option<Timestamp>,
    attempt: Option<Attempt>,
    #[serde(deserialize_with = "moment")]
    next_attempt_at: Option<Timestamp>,
}

impl Stage {
    /// Says what this is and what will happen.
    pub(super) fn open(form: Form, host: &Host) -> io::Result<Self> {
        let stage = Self { form, began: now(), columns: columns() };
        stage
            .line(&paint(style::STRONG, "Posthaste: the whole pipeline, on this machine, in ten seconds"))?;
        stage.line("")?;
        for line in wrap(WHAT_THIS_IS, stage.columns.saturating_sub(2)) {
            stage.line(&format!("  {line}"))?;
        }
        stage.line("")?;
        let fact =
            |name: &str, value: String| format!("  {}  {value}", paint(style::FAINT, format!("{name:<10}")));
        stage.line(&fact("API", format!("http://{}", host.http())))?;
        stage.line(&fact("receiver", format!("smtp://{}", host.sandbox_smtp())))?;
        stage.line("")?;
        stage.line(&paint(style::STRONG, "Announced"))?;
        for (n, role) in CAST.iter().enumerate() {
            let mut words = wrap(role.announced, stage.columns.saturating_sub(ROLE_LEAD)).into_iter();
            let first = paint(style::FAINT, words.next().unwrap_or_default());
            stage.line(&format!("  {}  {:<26} {first}", number(n), role.to))?;
            for line in words {
                stage.line(&format!("{}{}", " ".repeat(ROLE_LEAD), paint(style::FAINT, line)))?;
            }
        }
        stage.line("")?;
        stage.line(&paint(style::STRONG, "As it happens"))?;
        Ok(stage)
    }

    fn line(&self, text: &str) -> io::Result<()> {
        if self.form == Form::Json {
            return Ok(());
        }
        let mut out = anstream::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// A message was taken in.
    pub(super) fn accepted(&self, n: usize, id: &str) -> io::Result<()> {
        self.told(
            n,
            now(),
            &paint(style::NEWS, format!("{:<12}", "→ accepted")),
            &format!("{id} for {}", CAST[n].to),
        )
    }

    /// Something happened to it; says whether that was its end.
    pub(super) fn happened(&self, n: usize, event: &Value) -> io::Result<bool> {
        let event = Event::deserialize(event).unwrap_or_default();
        let kind = event.kind.strip_prefix("delivery.").unwrap_or(&event.kind);
        let mut status: Status = serde_json::from_value(Value::from(kind)).unwrap_or_default();
        if status == Status::Deferred
            && event.attempt.as_ref().is_some_and(|attempt| attempt.action == "slow")
        {
            status = Status::Throttled;
        }
        let (sign, colour) = style::of_status(status);
        let what = paint(colour, format!("{:<12}", format!("{sign} {}", status.as_str())));
        let at = event.at.unwrap_or_else(now);
        let asked = event
            .attempt
            .as_ref()
            .filter(|attempt| attempt.host.is_some() && !matches!(status, Status::Expired));
        let said = asked.and_then(timeline::answer);
        let said = said.unwrap_or_else(|| without_a_host(status).to_owned());
        self.told(n, at, &what, &said)?;
        if let Some(attempt) = asked {
            self.made_of_it(attempt, event.next_attempt_at, at)?;
        }
        Ok(status.is_final())
    }

    fn told(&self, n: usize, at: Timestamp, what: &str, said: &str) -> io::Result<()> {
        let after = format!("{:>6}", span(at.since(self.began)));
        let mut said = wrap(&clean(said), self.columns.saturating_sub(LEAD)).into_iter();
        let first = said.next().unwrap_or_default();
        self.line(&format!("  {}  {}  {what} {first}", paint(style::FAINT, after), number(n)))?;
        said.try_for_each(|line| self.line(&format!("{}{line}", " ".repeat(LEAD))))
    }

    /// The second line of an attempt: where, and what follows.
    fn made_of_it(&self, attempt: &Attempt, next: Option<Timestamp>, at: Timestamp) -> io::Result<()> {
        let mut parts = Vec::new();
        parts.extend(
            attempt
                .category
                .as_deref()
                .map(|category| format!("{} ({})", clean(category), clean(&attempt.action))),
        );
        parts.extend(next.map(|next| format!("next try in {}", span(next.since(at)))));
        if parts.is_empty() {
            parts.push(timeline::place(attempt));
        }
        let text = fit(&parts.join(", "), self.columns.saturating_sub(LEAD));
        self.line(&format!("{}{}", " ".repeat(LEAD), paint(style::FAINT, text)))
    }

    /// Before the review.
    pub(super) fn curtain(&self) -> io::Result<()> {
        self.line("")?;
        self.line(&paint(style::STRONG, "How it ended"))
    }

    /// One message of the review.
    pub(super) fn ended(&self, n: usize, message: &Message, as_announced: bool) -> io::Result<()> {
        let status = message.recipients.first().map(|recipient| recipient.status).unwrap_or_default();
        let attempts = message.recipients.first().map_or(0, |recipient| recipient.attempts.len());
        let attempts = format!("{attempts} attempt{}", if attempts == 1 { "" } else { "s" });
        let verdict = if as_announced {
            paint(style::GOOD, "as announced")
        } else {
            paint(style::BAD, format!("NOT as announced: {}", CAST[n].announced))
        };
        let (sign, colour) = style::of_status(status);
        let shown = paint(colour, format!("{:<12}", format!("{sign} {}", status.as_str())));
        self.line(&format!("  {}  {:<26} {shown}  {:<11}  {verdict}", number(n), CAST[n].to, attempts))
    }

    /// The last words.
    pub(super) fn close(&self, failed: usize) -> io::Result<()> {
        let took = span(now().since(self.began));
        self.line("")?;
        match failed {
            0 => self.line(&paint(
                style::GOOD,
                format!("All {} messages ended as announced, in {took}.", CAST.len()),
            ))?,
            n => self.line(&paint(
                style::BAD,
                format!("{n} of {} messages did not end as announced.", CAST.len()),
            ))?,
        }
        self.line("")?;
        self.line("Go on with")?;
        for (command, what) in [
            ("posthaste dev", "the same stack, for your own mail"),
            (
                "posthaste send --from you@acme.example --to defer-2@example.net --text Hi --wait",
                "in another terminal",
            ),
        ] {
            self.line(&format!("  {command}  {}", paint(style::FAINT, what)))?;
        }
        Ok(())
    }
}

/// What newcomers read first.
const WHAT_THIS_IS: &str = "Mail comes in over HTTP, is on disk before the answer, and leaves over real SMTP with TLS. \
The receiver is a sandbox that answers as the address asks, so nothing leaves this machine. Waits are seconds here; in \
earnest they are minutes and hours.";
/// Where an announcement begins: two spaces, a number, an address.
const ROLE_LEAD: usize = 2 + 1 + 2 + 26 + 1;
/// Where what was said begins: two spaces, a span, a number, a status.
const LEAD: usize = 2 + 6 + 2 + 1 + 2 + 12 + 1;

/// A message's number in its colour, which it keeps.
fn number(n: usize) -> String {
    const COLOURS: [anstyle::AnsiColor; 6] = [
        anstyle::AnsiColor::Cyan,
        anstyle::AnsiColor::Yellow,
        anstyle::AnsiColor::Magenta,
        anstyle::AnsiColor::Blue,
        anstyle::AnsiColor::Green,
        anstyle::AnsiColor::Red,
    ];
    paint(COLOURS[n % COLOURS.len()].on_default().bold(), n + 1)
}

/// What to say of an end that no host was asked for.
fn without_a_host(status: Status) -> &'static str {
    match status {
        Status::Suppressed => "it is on the suppression list since message 3: no connection is made",
        Status::Expired => "its time is over, and it is given up",
        _ => "",
    }
}
