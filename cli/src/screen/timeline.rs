//! The story of one message, as lines. Pure: the answer of the API and the time now go in.

use posthaste_mail::Timestamp;

use super::span::{ago, span, until};
use super::style::{self, paint};
use super::text::{clean, wrap};
use crate::client::view::{Attempt, Message, Recipient, Status};

/// Where an attempt's second and further lines begin.
const INDENT: usize = 8;

/// The whole of it.
pub(crate) fn story(message: &Message, now: Timestamp, columns: usize) -> Vec<String> {
    let mut lines = head(message, now);
    for recipient in &message.recipients {
        lines.push(String::new());
        lines.push(format!("  {}", standing(recipient, now)));
        for attempt in &recipient.attempts {
            lines.extend(tried(attempt, message.accepted_at, columns));
        }
    }
    lines
}

/// What was submitted, and how it stands as a whole.
fn head(message: &Message, now: Timestamp) -> Vec<String> {
    let accepted = message.accepted_at.map(|at| format!("accepted {} ({})", at_second(at), ago(at, now)));
    let status = match message.recipients.as_slice() {
        [] => message.status.clone(),
        all if all.iter().all(|r| r.status == all[0].status) => signed(all[0].status, ""),
        _ => paint(style::WAITING, &message.status),
    };
    let mut lines = vec![format!("{}  {status}", paint(style::STRONG, &message.id))];
    let subject = clean(&message.subject);
    let mut what = vec![clean(&message.from)];
    if !subject.is_empty() {
        what.push(format!("“{subject}”"));
    }
    lines.push(format!("  {}", what.join("  ")));
    let mut how: Vec<String> = accepted.into_iter().collect();
    if !message.is_final() {
        how.extend(message.expires_at.map(|at| format!("expires {}", until(at, now))));
    }
    how.push(message.lane.clone());
    how.extend(message.tags.iter().map(|(name, value)| clean(&format!("{name}:{value}"))));
    how.retain(|part| !part.is_empty());
    lines.push(format!("  {}", paint(style::FAINT, how.join(" · "))));
    lines
}

/// `ann@example.net  … deferred, next try in 5m (12:06:00)`.
pub(crate) fn standing(recipient: &Recipient, now: Timestamp) -> String {
    let next = recipient.next_attempt_at.filter(|_| !recipient.status.is_final());
    let next =
        next.map(|at| format!(", next try {} ({})", until(at, now), at_second(at))).unwrap_or_default();
    format!("{}  {}", paint(style::STRONG, clean(&recipient.address)), signed(recipient.status, &next))
}

/// A status with its sign and colour, and what follows it.
pub(crate) fn signed(status: Status, after: &str) -> String {
    let (sign, colour) = style::of_status(status);
    format!("{}{after}", paint(colour, format!("{sign} {}", status.as_str())))
}

/// One attempt: where and how, what was answered, what was made of it.
fn tried(attempt: &Attempt, accepted: Option<Timestamp>, columns: usize) -> Vec<String> {
    let after = match (attempt.at, accepted) {
        (Some(at), Some(accepted)) => format!("+{}", span(at.since(accepted))),
        _ => String::new(),
    };
    let at = attempt.at.map(at_second).unwrap_or_default();
    let number = format!("{}.", attempt.n);
    let mut lines = vec![format!(
        "    {number:<3} {at}  {}  {}",
        paint(style::FAINT, format!("{after:>7}")),
        place(attempt)
    )];
    let pad = " ".repeat(INDENT);
    if let Some(answer) = answer(attempt) {
        let room = columns.saturating_sub(INDENT + 1);
        lines.extend(wrap(&answer, room).into_iter().map(|line| format!("{pad}{line}")));
    }
    lines.push(format!("{pad}{}", made_of_it(attempt)));
    lines
}

/// `mx1.example.net [192.0.2.7], TLSv1.3 verified, at rcpt`.
pub(crate) fn place(attempt: &Attempt) -> String {
    let mut parts = Vec::new();
    match (&attempt.host, &attempt.ip) {
        (Some(host), Some(ip)) => parts.push(format!("{} [{}]", clean(host), clean(ip))),
        (Some(one), None) | (None, Some(one)) => parts.push(clean(one)),
        (None, None) => parts.push("no host".to_owned()),
    }
    parts.extend(attempt.tls.as_deref().filter(|tls| !tls.is_empty()).map(clean));
    if !attempt.stage.is_empty() {
        parts.push(format!("at {}", clean(&attempt.stage)));
    }
    parts.join(", ")
}

/// What the peer said, or what happened where it said nothing.
pub(crate) fn answer(attempt: &Attempt) -> Option<String> {
    let said = attempt.reply.as_ref().map(|reply| clean(&reply.to_string()));
    let happened = attempt.detail.as_deref().filter(|detail| !detail.is_empty()).map(clean);
    match (said, happened) {
        (Some(said), Some(happened)) if !said.contains(&happened) => Some(format!("{said} ({happened})")),
        (said, happened) => said.or(happened),
    }
}

/// `→ retry: greylisted, blame message, rule greylist-text`.
pub(crate) fn made_of_it(attempt: &Attempt) -> String {
    let mut why = Vec::new();
    why.extend(attempt.category.as_deref().map(clean));
    why.extend(attempt.scope.as_deref().map(|scope| format!("about the {}", clean(scope))));
    why.push(format!("rule {}", clean(&attempt.rule)));
    let action = paint(style::of_action(&attempt.action), format!("→ {}", clean(&attempt.action)));
    format!("{action} {}", paint(style::FAINT, why.join(", ")))
}

/// `2026-11-23 12:00:01Z`, as short as it is clear: the date is told by the spans beside it.
pub(crate) fn at_second(at: Timestamp) -> String {
    at.rfc3339().get(11..19).map(|time| format!("{time}Z")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_tells_every_attempt_with_its_reply_and_rule() {
        let message: Message = serde_json::from_value(serde_json::json!({
            "id": "msg_1", "status": "deferred", "from": "Acme <a@acme.example>", "subject": "Hi", "lane": "bulk",
            "tags": {"release": "v42"}, "accepted_at": "2026-11-23T12:00:00.000Z", "expires_at": "2026-11-27T12:00:00.000Z",
            "recipients": [{"address": "ann@example.net", "domain": "example.net", "status": "deferred",
                "next_attempt_at": "2026-11-23T12:06:00.000Z",
                "attempts": [{"n": 1, "at": "2026-11-23T12:00:01.000Z", "host": "mx.example.net", "ip": "192.0.2.7",
                    "tls": "TLSv1.3", "reply": {"code": 451, "enhanced": "4.7.1", "text": "come\u{1b}[2J back"},
                    "stage": "rcpt", "action": "retry", "category": "greylisted", "scope": "message", "rule": "greylist"}]}]
        }))
        .unwrap();
        let now = Timestamp::parse_rfc3339("2026-11-23T12:00:30Z").unwrap();
        let shown: Vec<String> = story(&message, now, 100)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert_eq!(
            shown,
            [
                "msg_1  … deferred",
                "  Acme <a@acme.example>  “Hi”",
                "  accepted 12:00:00Z (30s ago) · expires in 3d 23h · bulk · release:v42",
                "",
                "  ann@example.net  … deferred, next try in 5m 30s (12:06:00Z)",
                "    1.  12:00:01Z    +1.0s  mx.example.net [192.0.2.7], TLSv1.3, at rcpt",
                "        451 4.7.1 come[2J back",
                "        → retry greylisted, about the message, rule greylist",
            ]
        );
    }
}
