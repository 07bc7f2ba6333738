//! The list as a table.

use std::io;

use anstyle::Style;
use posthaste_mail::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::client::view::moment;
use crate::client::{Api, ApiError};
use crate::commands::trace::now;
use crate::failure::Outcome;
use crate::screen::style;
use crate::screen::{Align, Column, Form, Table, ago, clean, print_json, until};

/// Entries asked for at once.
const PAGE: &str = "500";

/// One entry, as far as it is shown.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) address: String,
    pub(super) reason: String,
    pub(super) category: Option<String>,
    pub(super) lane: Option<String>,
    pub(super) sandbox: bool,
    #[serde(deserialize_with = "moment")]
    pub(super) created_at: Option<Timestamp>,
    #[serde(deserialize_with = "moment")]
    pub(super) expires_at: Option<Timestamp>,
    pub(super) evidence: Evidence,
}

/// What shows that it is right.
#[derive(Debug, Clone, Default, Deserialize)]
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
    let mut answer = api.get("v1/suppressions", &query).await?;
    let next = answer["next"].as_str().map(str::to_owned);
    match answer["suppressions"].take() {
        Value::Array(entries) => Ok((entries, next)),
        _ => Err(ApiError::NotTheApi(format!("{} answers, but not as the API does", api.base()))),
    }
}

pub(super) async fn list(api: &Api, form: Form) -> Outcome {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let (entries, next) = page(api, after.as_deref()).await?;
        let done = next.is_none();
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
    for entry in entries {
        table.row(row(&Entry::deserialize(entry).unwrap_or_default(), now));
    }
    table.print(&mut anstream::stdout().lock())
}

fn row(entry: &Entry, now: Timestamp) -> Vec<(String, Style)> {
    let cell = |text: String| (text, Style::new());
    let lane = entry.lane.as_deref().unwrap_or("all");
    let realm = if entry.sandbox { " (sandbox)" } else { "" };
    vec![
        (clean(&entry.address), style::STRONG),
        cell(entry.because()),
        cell(format!("{}{realm}", clean(lane))),
        cell(entry.created_at.map(|at| ago(at, now)).unwrap_or_default()),
        cell(entry.expires_at.map_or("never".to_owned(), |at| until(at, now))),
        (clean(&entry.shown_by()), style::FAINT),
    ]
}

impl Entry {
    /// `bounce bad-mailbox`, `manual`.
    pub(super) fn because(&self) -> String {
        let parts = [Some(self.reason.as_str()), self.category.as_deref()];
        clean(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }

    /// The note, the reply and the message, as far as there are any.
    pub(super) fn shown_by(&self) -> String {
        let parts = [&self.evidence.note, &self.evidence.reply, &self.evidence.message_id];
        parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" · ")
    }
}
