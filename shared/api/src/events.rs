//! `GET /v1/events`: the feed, replayable from any cursor.

use std::time::Duration;

use axum::http::StatusCode;
use posthaste_mail::Tenant;
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::effect::Event;
use posthaste_pipeline::view::EventView;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::ask::{Ask, json};
use crate::problem::{Answer, Problem};

/// Events of one page.
const PAGE: usize = 100;
/// Most events of one page.
const PAGE_MAX: usize = 1_000;
/// Longest wait a caller may ask for.
const WAIT_SECONDS_MAX: usize = 60;
/// Longest a caller is kept waiting, whatever it asks for: less than the 10 s after which many clients give up.
const WAIT_MAX: Duration = Duration::from_secs(8);
/// How often a waiting caller's feed is looked at, at first and at last: an event is seen in a blink, an idle feed
/// costs two reads a second.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LAST: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Page<'a> {
    events: Vec<EventView<'a>>,
    next: String,
}

pub(crate) async fn feed(ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Read)?;
    let query = ask.query()?.only(&["after", "limit", "wait"])?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE);
    let wait = query.number("wait", 0, WAIT_SECONDS_MAX)?.unwrap_or(0);
    let feed = &ask.app.stores.feed;
    let cursor = match query.get("after") {
        None | Some("") => 0,
        Some("latest") => feed.latest(tenant).await?,
        Some(text) => read_cursor(text)?,
    };
    let events =
        await_events(&ask, tenant, cursor, limit, Duration::from_secs(wait as u64).min(WAIT_MAX)).await?;
    let next = events.last().map_or(cursor, |(last, _)| *last).to_string();
    let events = events.iter().map(|(cursor, event)| EventView::of(event, Some(*cursor))).collect();
    json(StatusCode::OK, &Page { events, next })
}

fn read_cursor(text: &str) -> Result<u64, Problem> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = if digits { text.parse::<u64>().ok() } else { None };
    // Stores count in signed numbers.
    let number = number.filter(|number| i64::try_from(*number).is_ok());
    number.ok_or_else(|| Problem::field("after", "expected a cursor of this feed, or `latest`"))
}

async fn await_events(
    ask: &Ask,
    tenant: &Tenant,
    cursor: u64,
    limit: usize,
    wait: Duration,
) -> Result<Vec<(u64, Event)>, Problem> {
    let deadline = Instant::now() + wait;
    let mut pause = LOOK_FIRST;
    loop {
        let events = ask.app.stores.feed.after(tenant, cursor, limit).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if !events.is_empty() || left.is_zero() {
            return Ok(events);
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(LOOK_LAST);
    }
}
