//! The list as a table.

use std::io;

use anstyle::Style;
use posthaste_mail::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{Api, ApiError};
use crate::commands::trace::now;
use crate::failure::Outcome;
use crate::screen::style;
use crate::screen::{Align, Column, Form, Table, ago, clean, print_json, until};

/// Entries asked for at once.
const PAGE: &str = "500";

/// One entry, as far as it is shown.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) address: String,
    pub(super) lane: Option<String>,
    pub(super) reason: String,
    pub(super) expires_at: Option<String>,
    pub(super) created_at: Option<String>,
    pub(super) evidence: Evidence,
}

/// What shows that it is right.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Evidence {
    pub(super) message_id: Option<String>,
    pub(super) reply: Option<String>,
    pub(super) note: Option<String>,
}

/// The next page after a cursor, and where the one after it begins.
pub(super) async fn page(api: &Api, after: Option<&str>) -> Result<(Vec<Value>, Option<String>), ApiError> {
    let mut query = vec![("limit", PAGE)];
    query.extend(after.map(|after| ("after", after)));
    let answer = api.get("v1/suppressions", &query).await?;
    let next = answer["next"].as_str().map(str::to_owned);
    let entries = entries_of(answer);
    Ok((entries, next))
}

/// The entries of an answer: a list, or one.
pub(super) fn entries_of(mut answer: Value) -> Vec<Value> {
    for key in ["suppressions", "entries"] {
        if let Value::Array(entries) = answer[key].take() {
            return entries;
        }
    }
    if answer["address"].is_string() { vec![answer] } else { Vec::new() }
}

pub(super) async fn list(api: &Api, form: Form) -> Outcome {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let (entries, next) = page(api, after.as_deref()).await?;
        let done = entries.is_empty() || next.is_none();
        all.extend(entries);
        if done {
            break;
        }
        after = next;
    }
    match form {
        Form::Json => print_json(&Value::Array(all))?,
        Form::People => show(&all)?,
    }
    Ok(())
}

/// Entries as a table on stdout.
pub(super) fn show(entries: &[Value]) -> io::Result<()> {
    let column = |title, align| Column { title, align };
    let mut table = Table::new(&[
        column("ADDRESS", Align::Elastic),
        column("REASON", Align::Left),
        column("LANE", Align::Left),
        column("SINCE", Align::Left),
        column("ENDS", Align::Left),
        column("EVIDENCE", Align::Elastic),
    ]);
    let now = now();
    let time = |text: &Option<String>| text.as_deref().and_then(Timestamp::parse_rfc3339);
    for entry in entries {
        let entry = Entry::deserialize(entry).unwrap_or_default();
        let cell = |text: String| (text, Style::new());
        let shown = [&entry.evidence.note, &entry.evidence.reply, &entry.evidence.message_id];
        let evidence: Vec<String> = shown.into_iter().flatten().map(|text| clean(text)).collect();
        table.row(vec![
            (clean(&entry.address), style::STRONG),
            cell(clean(&entry.reason)),
            cell(entry.lane.as_deref().map_or("all".to_owned(), clean)),
            cell(time(&entry.created_at).map(|at| ago(at, now)).unwrap_or_default()),
            cell(time(&entry.expires_at).map_or("never".to_owned(), |at| until(at, now))),
            (evidence.join(" · "), style::FAINT),
        ]);
    }
    table.print(&mut anstream::stdout().lock())
}
