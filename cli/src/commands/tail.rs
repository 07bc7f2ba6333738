//! `tail`: the feed of events, as they happen.

use std::io::{self, Write};
use std::time::Duration;

use posthaste_mail::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::select::message_id;
use crate::client::view::{Attempt, moment};
use crate::client::{Api, ApiArgs};
use crate::failure::{Outcome, say};
use crate::screen::style::{self, paint};
use crate::screen::{Form, Output, clean, timeline};

/// How long the API may hold a question until there is an event.
const WAIT_SECONDS: &str = "20";
/// After an answer that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Events as they happen.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Follows the feed until Ctrl-C, from now on or from a cursor; with --json a line each.

Examples:
  posthaste tail
  posthaste tail --from-start --json | jq 'select(.type == \"delivery.bounced\")'"
)]
pub(crate) struct Args {
    /// Begin after this cursor
    #[arg(long, value_name = "CURSOR", conflicts_with = "from_start")]
    after: Option<String>,
    /// Begin with the oldest event there is
    #[arg(long)]
    from_start: bool,
    /// Only events of this message
    #[arg(long, value_name = "ID", value_parser = message_id)]
    message: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: Output,
}

/// One event, as far as it is shown.
#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    message_id: String,
    recipient: String,
    #[serde(deserialize_with = "moment")]
    at: Option<Timestamp>,
    attempt: Option<Attempt>,
    #[serde(deserialize_with = "moment")]
    next_attempt_at: Option<Timestamp>,
    domain: Option<DomainChange>,
}

/// What has become worse about a sender domain.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DomainChange {
    domain: String,
    check: String,
    now: String,
    seen: String,
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = args.api.open()?;
    let form = args.output.form();
    let mut cursor = match (&args.after, args.from_start) {
        (Some(cursor), _) => cursor.clone(),
        (None, true) => "0".to_owned(),
        (None, false) => latest(&api).await?,
    };
    let (mut answered, mut failing) = (false, false);
    loop {
        let page = api.get("v1/events", &[("after", &cursor), ("wait", WAIT_SECONDS)]).await;
        let page = match page {
            Ok(page) => page,
            Err(error) if answered && error.may_pass() => {
                if !failing {
                    say(&format!("{error}; asking again"));
                }
                failing = true;
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        (answered, failing) = (true, false);
        for event in page["events"].as_array().into_iter().flatten() {
            if args.message.as_ref().is_none_or(|id| event["message_id"] == **id) {
                show(event, form)?;
            }
        }
        if let Some(next) = page["next"].as_str() {
            next.clone_into(&mut cursor);
        }
    }
}

/// Where the feed ends now.
async fn latest(api: &Api) -> Result<String, crate::failure::Failure> {
    let page = api.get("v1/events", &[("after", "latest")]).await?;
    Ok(page["next"].as_str().unwrap_or("0").to_owned())
}

fn show(event: &Value, form: Form) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    match form {
        Form::Json => writeln!(out, "{event}")?,
        Form::People => writeln!(out, "{}", line(&Event::deserialize(event).unwrap_or_default()))?,
    }
    out.flush()
}

/// `12:00:01Z  ✓ delivered  ann@example.net  250 2.0.0 Ok  msg_…`.
fn line(event: &Event) -> String {
    let kind = event.kind.strip_prefix("delivery.").unwrap_or(&event.kind);
    let status = serde_json::from_value(Value::from(kind)).unwrap_or_default();
    let (sign, colour) = style::of_status(status);
    let at = event.at.map(timeline::at_second).unwrap_or_default();
    let kind = paint(colour, format!("{sign} {:<10}", clean(kind)));
    if let Some(DomainChange { domain, check, now, seen }) = &event.domain {
        let kind = paint(style::BAD, format!("! {:<10}", clean(&event.kind)));
        let what = format!("{}  {}: {}", clean(check), clean(now), clean(seen));
        return [at, kind, paint(style::STRONG, clean(domain)), what].join("  ");
    }
    let mut parts = vec![at, kind, paint(style::STRONG, clean(&event.recipient))];
    parts.extend(event.attempt.as_ref().and_then(timeline::answer));
    if let (Some(next), Some(at)) = (event.next_attempt_at, event.at) {
        parts.push(paint(style::WAITING, format!("next try {}", crate::screen::until(next, at))));
    }
    parts.push(paint(style::FAINT, clean(&event.message_id)));
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_one_line_each() {
        let event = serde_json::json!({"type": "delivery.deferred", "message_id": "msg_1", "recipient": "ann@example.net",
            "at": "2026-11-23T12:00:01.000Z", "next_attempt_at": "2026-11-23T12:06:01.000Z",
            "attempt": {"n": 1, "reply": {"code": 451, "text": "later"}}});
        let shown = line(&Event::deserialize(&event).unwrap());
        assert_eq!(
            anstream::adapter::strip_str(&shown).to_string(),
            "12:00:01Z  … deferred    ann@example.net  451 later  next try in 6m  msg_1"
        );
        let event = serde_json::json!({"type": "auth.drifted", "at": "2026-11-23T12:00:01.000Z", "domain": {"domain":
            "acme.example", "check": "dmarc", "was": "ok", "now": "error", "seen": "acme.example has no policy"}});
        let shown = line(&Event::deserialize(&event).unwrap());
        assert_eq!(
            anstream::adapter::strip_str(&shown).to_string(),
            "12:00:01Z  ! auth.drifted  acme.example  dmarc  error: acme.example has no policy"
        );
    }
}
