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
use crate::commands::trace::now;
use crate::failure::{Failure, Outcome};
use crate::screen::{Form, print_json};

/// The columns, in the order they are written.
const COLUMNS: [&str; 10] = [
    "address",
    "lane",
    "expires_at",
    "reason",
    "category",
    "created_at",
    "message_id",
    "reply",
    "note",
    "sandbox",
];
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
            let entry =
                Entry::deserialize(entry).map_err(|error| Failure::failed(format!("an entry: {error}")))?;
            out.write_record(cells(entry)).map_err(written)?;
        }
        if next.is_none() {
            break;
        }
        after = next;
    }
    out.flush()?;
    Ok(())
}

fn cells(entry: Entry) -> [String; COLUMNS.len()] {
    let time = |at: Option<Timestamp>| at.map(Timestamp::rfc3339).unwrap_or_default();
    let sandbox = if entry.sandbox { "true" } else { "" };
    [
        entry.address,
        entry.lane.unwrap_or_default(),
        time(entry.expires_at),
        entry.reason,
        entry.category.unwrap_or_default(),
        time(entry.created_at),
        entry.evidence.message_id.unwrap_or_default(),
        entry.evidence.reply.unwrap_or_default(),
        entry.evidence.note.unwrap_or_default(),
        sandbox.to_owned(),
    ]
}

fn written(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => Failure::failed(format!("the output cannot be written: {other:?}")),
    }
}

/// Reads a whole file, then puts every entry of it.
pub(super) async fn import(api: &Api, path: &Path, form: Form) -> Outcome {
    let now = now();
    let read = if path == Path::new("-") {
        read(io::stdin().lock(), Path::new("stdin"), now)?
    } else {
        read(std::fs::File::open(path).map_err(|error| Failure::file(path, &error))?, path, now)?
    };
    let (count, ended) = (read.entries.len(), read.ended);
    let puts = read
        .entries
        .into_iter()
        .map(|(address, entry)| async move { put(api, &address, &entry).await.map(drop) });
    stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<()>().await.map_err(|error: ApiError| {
        Failure::failed(format!("{}: stopped, and part of it is imported: {error}", path.display()))
    })?;
    match form {
        Form::Json => print_json(&json!({"imported": count, "ended": ended}))?,
        Form::People => {
            let left_out =
                if ended > 0 { format!(", {ended} left out that have ended") } else { String::new() };
            writeln!(
                anstream::stdout(),
                "{count} {} imported{left_out}",
                if count == 1 { "entry" } else { "entries" }
            )?;
        }
    }
    Ok(())
}

/// What a file says.
#[derive(Debug, PartialEq)]
struct Sheet {
    entries: Vec<(Address, Value)>,
    /// Lines whose entry has ended already.
    ended: usize,
}

/// Every entry, or the first line that is wrong.
fn read(from: impl Read, path: &Path, now: Timestamp) -> Result<Sheet, Failure> {
    let mut lines =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(from);
    let mut columns: Vec<String> = vec![COLUMNS[0].to_owned()];
    let mut sheet = Sheet { entries: Vec::new(), ended: 0 };
    for (n, record) in lines.records().enumerate() {
        let wrong = |line: u64, why: &str| Failure::input(format!("{}:{line}: {why}", path.display()));
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            wrong(line, &error.to_string())
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let is_header = n == 0 && record.iter().any(|cell| unmarked(cell).eq_ignore_ascii_case(COLUMNS[0]));
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
        match entry(&columns, &record, now).map_err(|why| wrong(line, &why))? {
            Some(entry) => sheet.entries.push(entry),
            None => sheet.ended += 1,
        }
        if sheet.entries.len() > ENTRIES_MAX {
            return Err(wrong(line, &format!("over {ENTRIES_MAX} entries: split the file")));
        }
    }
    Ok(sheet)
}

/// Without the mark that spreadsheets put before the first cell.
fn unmarked(cell: &str) -> &str {
    cell.trim_start_matches('\u{feff}')
}

fn header(record: &csv::StringRecord) -> Result<Vec<String>, String> {
    let names: Vec<String> = record.iter().map(|name| unmarked(name).to_ascii_lowercase()).collect();
    match names.iter().find(|name| !COLUMNS.contains(&name.as_str())) {
        Some(unknown) => Err(format!("{unknown}: no such column; known are {}", COLUMNS.join(", "))),
        None => Ok(names),
    }
}

/// One line as the API takes it; none if it has ended.
fn entry(
    columns: &[String],
    record: &csv::StringRecord,
    now: Timestamp,
) -> Result<Option<(Address, Value)>, String> {
    let mut mailbox = None;
    let mut entry = Map::new();
    let mut ended = false;
    for (column, cell) in columns.iter().zip(record).filter(|(_, cell)| !cell.is_empty()) {
        let named = |why: String| format!("{column}: {why}");
        match column.as_str() {
            "address" => mailbox = Some(address(unmarked(cell)).map_err(named)?),
            "lane" => {
                entry.insert(column.clone(), json!(lane(cell).map_err(named)?));
            }
            "expires_at" | "created_at" => {
                let at = Timestamp::parse_rfc3339(cell)
                    .ok_or_else(|| named(format!("`{cell}` is no time: write 2026-11-23T12:00:00Z")))?;
                ended |= column == "expires_at" && at <= now;
                entry.insert(column.clone(), json!(at.rfc3339()));
            }
            "sandbox" => match cell {
                "true" | "false" => {
                    entry.insert(column.clone(), json!(cell == "true"));
                }
                _ => return Err(named(format!("`{cell}` is neither true nor false"))),
            },
            _ => {
                entry.insert(column.clone(), json!(cell));
            }
        }
    }
    let mailbox = mailbox.ok_or("address: missing")?;
    Ok((!ended).then(|| (mailbox, entry.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_are_read_with_and_without_a_header() {
        let now = Timestamp::parse_rfc3339("2026-11-23T12:00:00Z").unwrap();
        type Entries<'a> = &'a [(&'a str, Value)];
        let check = |text: &str, expected: Result<(Entries<'_>, usize), &str>| {
            let got = read(text.as_bytes(), Path::new("l.csv"), now).map_err(|failure| failure.to_string());
            let expected = expected.map(|(list, ended)| Sheet {
                entries: list.iter().map(|(a, v)| (Address::parse(a).unwrap(), v.clone())).collect(),
                ended,
            });
            assert_eq!(got, expected.map_err(str::to_owned), "{text}");
        };
        let two = [("ann@example.net", json!({})), ("bob@example.net", json!({}))];
        check("ann@example.net\nbob@example.net\n", Ok((&two, 0)));
        check(
            "\u{feff}address,lane,note\nann@example.net,bulk,\"a, b\"\n\nbob@example.net,,\n",
            Ok((
                &[
                    ("ann@example.net", json!({"lane": "bulk", "note": "a, b"})),
                    ("bob@example.net", json!({})),
                ],
                0,
            )),
        );
        check(
            "address,expires_at\nann@example.net,2026-11-24T12:00:00Z\nbob@example.net,2026-11-22T12:00:00Z\n",
            Ok((&[("ann@example.net", json!({"expires_at": "2026-11-24T12:00:00.000Z"}))], 1)),
        );
        check(
            "address,reason,category,reply\nann@example.net,bounce,bad-mailbox,550 5.1.1 no\nbob@example.net,manual,,\n",
            Ok((
                &[
                    (
                        "ann@example.net",
                        json!({"reason": "bounce", "category": "bad-mailbox", "reply": "550 5.1.1 no"}),
                    ),
                    ("bob@example.net", json!({"reason": "manual"})),
                ],
                0,
            )),
        );
        check(
            "address,expires_at\nann@example.net,soon\n",
            Err("l.csv:2: expires_at: `soon` is no time: write 2026-11-23T12:00:00Z"),
        );
        check("address,sandbox\nann@example.net,1\n", Err("l.csv:2: sandbox: `1` is neither true nor false"));
        check("note,address\nhello,\n", Err("l.csv:2: address: missing"));
        check("ann@example.net,more\n", Err("l.csv:1: 2 columns, where 1 are named"));
        check("", Ok((&[], 0)));
        let unknown = read("address,colour\n".as_bytes(), Path::new("l.csv"), now).unwrap_err().to_string();
        assert!(unknown.starts_with("l.csv:1: colour: no such column"), "{unknown}");
    }
}
