//! The list as CSV: what one installation writes another reads.

use std::io::{self, Read, Write};
use std::path::Path;

use futures::stream::{self, StreamExt, TryStreamExt};
use posthaste_mail::{Address, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::list::{Entry, page};
use super::{address, lane, put};
use crate::client::{Api, ApiError};
use crate::failure::{Failure, Outcome};
use crate::screen::{Form, print_json};

/// The columns, in the order they are written.
const COLUMNS: [&str; 8] = ["address", "lane", "reason", "expires_at", "created_at", "message_id", "reply", "note"];
/// Entries put side by side.
const AT_ONCE: usize = 16;
/// Most entries one import takes: some hundred octets each, all held until the last is read.
const ENTRIES_MAX: usize = 2_000_000;

/// Writes the whole list.
pub(super) async fn export(api: &Api) -> Outcome {
    let mut out = csv::Writer::from_writer(io::BufWriter::new(io::stdout()));
    out.write_record(COLUMNS).map_err(written)?;
    let mut after = None;
    loop {
        let (entries, next) = page(api, after.as_deref()).await?;
        for entry in &entries {
            let entry = Entry::deserialize(entry).map_err(|error| Failure::failed(format!("an entry: {error}")))?;
            let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
            let cells = [
                entry.address.clone(),
                or_empty(&entry.lane),
                entry.reason.clone(),
                or_empty(&entry.expires_at),
                or_empty(&entry.created_at),
                or_empty(&entry.evidence.message_id),
                or_empty(&entry.evidence.reply),
                or_empty(&entry.evidence.note),
            ];
            out.write_record(&cells).map_err(written)?;
        }
        if entries.is_empty() || next.is_none() {
            break;
        }
        after = next;
    }
    out.flush()?;
    Ok(())
}

fn written(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => Failure::failed(format!("the output cannot be written: {other:?}")),
    }
}

/// Reads a whole file, then puts every entry of it.
pub(super) async fn import(api: &Api, path: &Path, form: Form) -> Outcome {
    let entries = if path == Path::new("-") {
        read(io::stdin().lock(), Path::new("stdin"))?
    } else {
        read(std::fs::File::open(path).map_err(|error| Failure::file(path, &error))?, path)?
    };
    let count = entries.len();
    let puts = entries.into_iter().map(|(address, entry)| async move { put(api, &address, &entry).await.map(drop) });
    stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<()>().await.map_err(|error: ApiError| {
        Failure::failed(format!("{}: stopped, and part of it is imported: {error}", path.display()))
    })?;
    match form {
        Form::Json => print_json(&json!({"imported": count}))?,
        Form::People => {
            writeln!(anstream::stdout(), "{count} {} imported", if count == 1 { "entry" } else { "entries" })?;
        }
    }
    Ok(())
}

/// Every entry, or the first line that is wrong.
fn read(from: impl Read, path: &Path) -> Result<Vec<(Address, Value)>, Failure> {
    let mut lines = csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(from);
    let mut columns: Vec<String> = vec![COLUMNS[0].to_owned()];
    let mut entries = Vec::new();
    for (n, record) in lines.records().enumerate() {
        let wrong = |line: u64, why: &str| Failure::input(format!("{}:{line}: {why}", path.display()));
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            wrong(line, &error.to_string())
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let is_header = n == 0 && record.iter().any(|cell| cell.trim_start_matches('\u{feff}').eq_ignore_ascii_case(COLUMNS[0]));
        if is_header {
            columns = header(&record).map_err(|why| wrong(line, &why))?;
            continue;
        }
        if record.iter().all(str::is_empty) {
            continue;
        }
        if record.len() > columns.len() {
            return Err(wrong(line, &format!("{} columns, where {} are named", record.len(), columns.len())));
        }
        entries.push(entry(&columns, &record).map_err(|why| wrong(line, &why))?);
        if entries.len() > ENTRIES_MAX {
            return Err(wrong(line, &format!("over {ENTRIES_MAX} entries: split the file")));
        }
    }
    Ok(entries)
}

fn header(record: &csv::StringRecord) -> Result<Vec<String>, String> {
    let names: Vec<String> = record.iter().map(|name| name.trim_start_matches('\u{feff}').to_ascii_lowercase()).collect();
    match names.iter().find(|name| !COLUMNS.contains(&name.as_str())) {
        Some(unknown) => Err(format!("{unknown}: no such column; known are {}", COLUMNS.join(", "))),
        None => Ok(names),
    }
}

/// One line as the API takes it.
fn entry(columns: &[String], record: &csv::StringRecord) -> Result<(Address, Value), String> {
    let mut mailbox = None;
    let mut entry = Map::new();
    for (column, cell) in columns.iter().zip(record).filter(|(_, cell)| !cell.is_empty()) {
        let named = |why: String| format!("{column}: {why}");
        match column.as_str() {
            "address" => mailbox = Some(address(cell).map_err(named)?),
            "lane" => {
                entry.insert(column.clone(), json!(lane(cell).map_err(named)?));
            }
            "expires_at" | "created_at" => {
                let at = Timestamp::parse_rfc3339(cell)
                    .ok_or_else(|| named(format!("`{cell}` is no time: write 2026-11-23T12:00:00Z")))?;
                entry.insert(column.clone(), json!(at.rfc3339()));
            }
            _ => {
                entry.insert(column.clone(), json!(cell));
            }
        }
    }
    Ok((mailbox.ok_or("address: missing")?, entry.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_are_read_with_and_without_a_header() {
        let check = |text: &str, expected: Result<&[(&str, Value)], &str>| {
            let got = read(text.as_bytes(), Path::new("l.csv")).map_err(|failure| failure.to_string());
            let got = got.map(|list| list.into_iter().map(|(a, v)| (a.to_string(), v)).collect::<Vec<_>>());
            let expected = expected.map(|list| list.iter().map(|(a, v)| ((*a).to_owned(), v.clone())).collect());
            assert_eq!(got, expected.map_err(str::to_owned), "{text}");
        };
        check("ann@example.net\nbob@example.net\n", Ok(&[("ann@example.net", json!({})), ("bob@example.net", json!({}))]));
        check(
            "\u{feff}address,lane,note\nann@example.net,bulk,\"a, b\"\n\nbob@example.net,,\n",
            Ok(&[("ann@example.net", json!({"lane": "bulk", "note": "a, b"})), ("bob@example.net", json!({}))]),
        );
        check("address,expires_at\nann@example.net,soon\n", Err("l.csv:2: expires_at: `soon` is no time: write 2026-11-23T12:00:00Z"));
        check("address,colour\n", Err("l.csv:1: colour: no such column; known are address, lane, reason, expires_at, created_at, message_id, reply, note"));
        check("note,address\nhello,\n", Err("l.csv:2: address: missing"));
        check("ann@example.net,more\n", Err("l.csv:1: 2 columns, where 1 are named"));
        check("", Ok(&[]));
    }
}
