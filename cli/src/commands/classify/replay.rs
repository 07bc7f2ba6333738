//! `classify --replay`: the replies that the ledger keeps, judged again by another policy file's rules, and what would have
//! been otherwise. What other verdicts would have led to (other attempts, other replies) nobody can know.

use std::collections::BTreeMap;
use std::io::Write;

use anstyle::Style;
use posthaste_mail::{Reply, Stage};
use posthaste_policy::{Action, Category, Classifier, Observed, Suppress, Verdict};
use serde::{Deserialize, Serialize};

use crate::client::view::{Attempt, Message};
use crate::client::{Api, ApiError};
use crate::failure::Outcome;
use crate::screen::style::{self, paint};
use crate::screen::{Align, Column, Form, Table, clean, print_json};

/// Messages of one page: as many as the API gives.
const PAGE: &str = "100";
/// Changes shown to people; all of them are in the JSON.
const CHANGES_SHOWN: usize = 20;

/// What happened to a recipient, or would have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Judged {
    action: String,
    category: String,
    suppress: String,
    rule: String,
}

/// What came of replies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Counts {
    deferred: u64,
    bounced: u64,
    suppressed: u64,
}

/// Of one category: what came of it, and what would have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct WasAndWould {
    was: Counts,
    would: Counts,
}

/// Replies that would be judged otherwise, and in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Change {
    was: Judged,
    would: Judged,
    count: u64,
    /// One of them, with the host that gave it.
    example: String,
    host: Option<String>,
}

/// What the ledger's replies come to.
#[derive(Debug, Default, Serialize)]
struct Replay {
    messages: u64,
    replies: u64,
    changed: u64,
    categories: BTreeMap<String, WasAndWould>,
    changes: Vec<Change>,
    #[serde(skip)]
    known: BTreeMap<(Judged, Judged), usize>,
}

/// Runs it.
pub(super) async fn run(api: &Api, classifier: &Classifier, form: Form) -> Outcome {
    let mut replay = Replay::default();
    let mut after: Option<String> = None;
    loop {
        let (messages, next) = page(api, after.as_deref()).await?;
        for message in &messages {
            replay.add(message, classifier);
        }
        if next.is_none() {
            break;
        }
        after = next;
    }
    replay.changes.sort_by_key(|change| std::cmp::Reverse(change.count));
    match form {
        Form::Json => print_json(&serde_json::to_value(&replay).map_err(std::io::Error::from)?)?,
        Form::People => replay.show()?,
    }
    Ok(())
}

async fn page(api: &Api, after: Option<&str>) -> Result<(Vec<Message>, Option<String>), ApiError> {
    let mut query = vec![("limit", PAGE)];
    query.extend(after.map(|after| ("after", after)));
    let mut answer = api.get("v1/messages", &query).await?;
    let next = answer["next"].as_str().map(str::to_owned);
    let messages = answer["messages"].take();
    let is_list = messages.is_array();
    match Vec::<Message>::deserialize(messages) {
        Ok(messages) if is_list => Ok((messages, next)),
        _ => Err(ApiError::NotTheApi(format!("{} answers, but not as the API does", api.base()))),
    }
}

impl Replay {
    fn add(&mut self, message: &Message, classifier: &Classifier) {
        self.messages += 1;
        for recipient in &message.recipients {
            for attempt in
                recipient.attempts.iter().filter(|attempt| attempt.action != Action::Deliver.as_str())
            {
                let (Some(reply), Some(stage)) = (&attempt.reply, Stage::parse(&attempt.stage)) else {
                    continue;
                };
                let companions = message.recipients.iter().filter(|other| shares(&other.attempts, attempt));
                let observed = Observed {
                    stage,
                    reply,
                    mx_host: attempt.host.as_deref(),
                    recipients: companions.count().max(1),
                };
                self.judge(attempt, reply, &classifier.classify(&observed));
            }
        }
    }

    fn judge(&mut self, attempt: &Attempt, reply: &Reply, verdict: &Verdict) {
        let was = Judged::was(attempt);
        let would = Judged::would(verdict);
        self.replies += 1;
        self.categories.entry(was.category.clone()).or_default().was.add(&was);
        self.categories.entry(would.category.clone()).or_default().would.add(&would);
        if was.says_the_same_as(&would) {
            return;
        }
        self.changed += 1;
        let key = (was, would);
        if let Some(at) = self.known.get(&key) {
            self.changes[*at].count += 1;
            return;
        }
        self.known.insert(key.clone(), self.changes.len());
        let (was, would) = key;
        let change = Change { was, would, count: 1, example: reply.to_string(), host: attempt.host.clone() };
        self.changes.push(change);
    }

    fn show(&self) -> std::io::Result<()> {
        let mut out = anstream::stdout().lock();
        let s = |n: u64| if n == 1 { "" } else { "s" };
        let total = format!(
            "{} refusal{} of {} message{}: {} would be judged otherwise",
            self.replies,
            s(self.replies),
            self.messages,
            s(self.messages),
            self.changed
        );
        writeln!(out, "{}\n", paint(style::STRONG, total))?;
        self.table().print(&mut out)?;
        for change in self.changes.iter().take(CHANGES_SHOWN) {
            writeln!(out, "\n{} × {} → {}", change.count, change.was.shown(), change.would.shown())?;
            writeln!(out, "    {}", paint(style::FAINT, clean(&change.example)))?;
        }
        if self.changes.len() > CHANGES_SHOWN {
            let more = format!("\n{} more kinds of change: see --json", self.changes.len() - CHANGES_SHOWN);
            writeln!(out, "{}", paint(style::FAINT, more))?;
        }
        out.flush()
    }

    fn table(&self) -> Table {
        let column = |title, align| Column { title, align };
        let mut table = Table::new(&[
            column("CATEGORY", Align::Left),
            column("DEFERRED", Align::Right),
            column("WOULD", Align::Right),
            column("BOUNCED", Align::Right),
            column("WOULD", Align::Right),
            column("SUPPRESSED", Align::Right),
            column("WOULD", Align::Right),
        ]);
        for (category, WasAndWould { was, would }) in &self.categories {
            let mut cells = vec![(clean(category), Style::new())];
            let pairs = [
                (was.deferred, would.deferred),
                (was.bounced, would.bounced),
                (was.suppressed, would.suppressed),
            ];
            for (was, would) in pairs {
                let changed = if was == would { Style::new() } else { style::STRONG };
                cells.push((was.to_string(), Style::new()));
                cells.push((would.to_string(), changed));
            }
            table.row(cells);
        }
        table
    }
}

/// Whether an attempt is another recipient's part of the same transaction.
fn shares(attempts: &[Attempt], attempt: &Attempt) -> bool {
    attempts
        .iter()
        .any(|other| other.at == attempt.at && other.host == attempt.host && other.stage == attempt.stage)
}

impl Judged {
    fn was(attempt: &Attempt) -> Self {
        Self {
            action: attempt.action.clone(),
            category: attempt.category.clone().unwrap_or_else(|| Category::Other.as_str().to_owned()),
            suppress: attempt.suppress.clone().unwrap_or_else(|| Suppress::No.to_string()),
            rule: attempt.rule.clone(),
        }
    }

    fn would(verdict: &Verdict) -> Self {
        Self {
            action: verdict.action.to_string(),
            category: verdict.category.to_string(),
            suppress: verdict.suppress.to_string(),
            rule: verdict.rule.to_string(),
        }
    }

    /// Another rule that says the same changes nothing.
    fn says_the_same_as(&self, other: &Self) -> bool {
        (&self.action, &self.category, &self.suppress) == (&other.action, &other.category, &other.suppress)
    }

    fn shown(&self) -> String {
        let suppress =
            if self.suppress == "no" { String::new() } else { format!(", suppressed {}", self.suppress) };
        clean(&format!("{} {}{suppress} [{}]", self.action, self.category, self.rule))
    }
}

impl Counts {
    fn add(&mut self, judged: &Judged) {
        let is_bounce = judged.action == Action::Bounce.as_str();
        self.bounced += u64::from(is_bounce);
        self.deferred += u64::from(!is_bounce);
        self.suppressed += u64::from(judged.suppress != Suppress::No.to_string());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn message(attempts: &Value) -> Message {
        let recipient = serde_json::json!({"address": "ann@example.net", "attempts": attempts});
        serde_json::from_value(serde_json::json!({"id": "msg_1", "recipients": [recipient]})).unwrap()
    }

    #[test]
    fn what_would_change_is_counted_once_for_each_reply() {
        let rule = "name = \"mine\"\ntext = ['frobnicated']\ncategory = \"greylisted\"\n";
        let classifier = Classifier::new(&[toml_rule(rule)]).unwrap();
        let attempt = |action: &str, category: &str, reply: &str| {
            let (code, text) = reply.split_once(' ').unwrap();
            serde_json::json!({"n": 1, "stage": "rcpt", "action": action, "category": category, "rule": "old",
                "reply": {"code": code.parse::<u16>().unwrap(), "text": text}})
        };
        let mut replay = Replay::default();
        replay.add(
            &message(&serde_json::json!([
                attempt("bounce", "other", "550 frobnicated"),
                attempt("bounce", "other", "550 frobnicated, again"),
                attempt("retry", "mailbox-full", "452 mailbox full"),
                {"n": 4, "stage": "dot", "action": "deliver", "rule": "accepted", "reply": {"code": 250, "text": "ok"}},
                {"n": 5, "stage": "connect", "action": "retry", "category": "network", "rule": "refused"},
            ])),
            &classifier,
        );
        assert_eq!((replay.messages, replay.replies, replay.changed), (1, 3, 2));
        assert_eq!(replay.changes.len(), 1);
        assert_eq!((replay.changes[0].count, replay.changes[0].would.rule.as_str()), (2, "mine"));
        assert_eq!(replay.categories["other"].was, Counts { bounced: 2, ..Counts::default() });
        assert_eq!(replay.categories["greylisted"].would, Counts { deferred: 2, ..Counts::default() });
        let full = replay.categories["mailbox-full"];
        assert_eq!(full.was, full.would);
    }

    fn toml_rule(text: &str) -> posthaste_policy::classify::UserRule {
        let policy = posthaste_policy::Policy::parse(&format!("[[verdict]]\n{text}")).unwrap();
        policy.verdicts.into_iter().next().unwrap()
    }
}
