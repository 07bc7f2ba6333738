//! The pacer of one machine. The directory is this process's alone, so what it counts is all there is: memory has the
//! truth, and the disk what must outlive it. Connections need not: they die with the process. Time that was handed out
//! must: it is written ahead of need, so that an ask seldom waits for a write and a restart wastes a moment at most.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use posthaste_mail::{Lane, Tenant, Timestamp};
use posthaste_pipeline::pacer::{LINES_MAX, LineKey, PaceKey, Pacer, View};
use posthaste_pipeline::stores::StoreError;
use posthaste_policy::pacing::Micros;
use posthaste_policy::pacing::book::{Book, TokenAsk, Tokens};
use posthaste_policy::pacing::line::Line;
use posthaste_policy::pacing::seats::{Seat, SeatAsk};
use posthaste_policy::standing::Standing;
use posthaste_policy::standing::breaker::{Health, Tally};
use rusqlite::{Connection, params};

use crate::fault::Fault;
use crate::{Embedded, document};

/// Time is written down as handed out by so much more than it is: microseconds.
const AHEAD_US: i64 = 2_000_000;
/// Receivers in memory; past it those where nobody sits or waits and whose time has passed go.
const PACES_MAX: usize = 100_000;

/// See the module.
pub(crate) struct Paces(Mutex<BTreeMap<PaceKey, Pace>>);

#[derive(Default)]
struct Pace {
    book: Book,
    /// Up to when time is written down as handed out.
    written: Option<Micros>,
    standing: Standing,
    lines: HashMap<(Lane, Tenant), Line>,
    health: Health,
}

impl Paces {
    pub(crate) fn load(connection: &Connection) -> Result<Self, Fault> {
        let mut paces: BTreeMap<PaceKey, Pace> = BTreeMap::new();
        let mut statement = connection.prepare("SELECT key, tat, standing FROM paces")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key: PaceKey = document::blob("a pace's key", row, 0)?;
            let tat: Option<i64> = row.get(1)?;
            let standing: Standing = document::blob("a standing", row, 2)?;
            let written = tat.map(Micros);
            let book = Book { tat: written, epoch: standing.epoch, ..Book::default() };
            paces.insert(key, Pace { book, written, standing, ..Pace::default() });
        }
        let mut statement = connection.prepare("SELECT key, tail, served, moved FROM lines")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key: LineKey = document::blob("a line's key", row, 0)?;
            let number = |nth: usize| row.get::<_, i64>(nth).map(i64::cast_unsigned);
            let line = Line { tail: number(1)?, served: number(2)?, moved: Micros(row.get(3)?) };
            paces.entry(key.key).or_default().lines.insert((key.lane, key.tenant), line);
        }
        let mut statement = connection.prepare("SELECT key, doc FROM healths")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key: PaceKey = document::blob("a pace's key", row, 0)?;
            paces.entry(key).or_default().health = document::blob("a receiver's health", row, 1)?;
        }
        Ok(Self(Mutex::new(paces)))
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<PaceKey, Pace>> {
        // Every value is whole after every call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, key: &PaceKey, act: impl FnOnce(&mut Pace) -> T) -> T {
        let mut paces = self.locked();
        if let Some(pace) = paces.get_mut(key) {
            return act(pace);
        }
        if paces.len() >= PACES_MAX {
            let newest = paces.values().filter_map(|pace| pace.book.tat).max().unwrap_or_default();
            paces.retain(|_, pace| {
                let waits = pace.lines.values().any(|line| line.waiting() > 0);
                waits
                    || !pace.book.seats.0.is_empty()
                    || pace.standing.epoch > 0
                    || pace.health.version > 0
                    || pace.book.tat.is_some_and(|tat| tat.plus(AHEAD_US) > newest)
            });
        }
        act(paces.entry(key.clone()).or_default())
    }
}

impl Embedded {
    async fn write_pace(
        &self,
        key: &PaceKey,
        tat: Option<Micros>,
        standing: &Standing,
    ) -> Result<(), StoreError> {
        let epoch = standing.epoch.cast_signed();
        let (key, standing) = (document::write(key)?, document::write(standing)?);
        let put = self.writer().ask(standing.len(), move |tx| {
            tx.statement(
                "INSERT INTO paces (key, tat, epoch, standing) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE SET epoch = max(epoch, excluded.epoch),
                     standing = iif(excluded.epoch >= epoch, excluded.standing, standing),
                     tat = max(coalesce(tat, excluded.tat), coalesce(excluded.tat, tat))",
            )?
            .execute(params![key, tat.map(|tat| tat.0), epoch, standing])?;
            Ok(())
        });
        put.await
    }

    async fn write_line(&self, line: &LineKey, now: Line) -> Result<(), StoreError> {
        let key = document::write(line)?;
        let put = self.writer().ask(key.len(), move |tx| {
            // Two may be written out of order: counters only rise.
            tx.statement(
                "INSERT INTO lines (key, tail, served, moved) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE SET tail = max(tail, excluded.tail),
                     served = max(served, excluded.served), moved = max(moved, excluded.moved)",
            )?
            .execute(params![
                key,
                now.tail.cast_signed(),
                now.served.cast_signed(),
                now.moved.0
            ])?;
            Ok(())
        });
        put.await
    }

    fn in_line<T>(&self, line: &LineKey, act: impl FnOnce(&mut Line) -> T) -> (T, Line) {
        self.shared().paces.with(&line.key, |pace| {
            let there = pace.lines.entry((line.lane, line.tenant.clone())).or_default();
            (act(there), *there)
        })
    }
}

#[async_trait::async_trait]
impl Pacer for Embedded {
    async fn view(&self, key: &PaceKey) -> Result<View, StoreError> {
        Ok(self.shared().paces.with(key, |pace| View {
            standing: pace.standing.clone(),
            tat: pace.book.tat,
            seats: u32::try_from(pace.book.seats.0.len()).unwrap_or(u32::MAX),
            lines: pace
                .lines
                .iter()
                .filter(|(_, line)| line.waiting() > 0)
                .take(LINES_MAX)
                .map(|((lane, tenant), line)| (*lane, tenant.clone(), *line))
                .collect(),
        }))
    }

    async fn stand(&self, key: &PaceKey, standing: &Standing) -> Result<bool, StoreError> {
        let tat = self.shared().paces.with(key, |pace| {
            (pace.standing.epoch + 1 == standing.epoch).then(|| {
                pace.standing = standing.clone();
                pace.book.epoch = standing.epoch;
                pace.written
            })
        });
        let Some(tat) = tat else { return Ok(false) };
        self.write_pace(key, tat, standing).await?;
        Ok(true)
    }

    async fn standings(
        &self,
        after: Option<&PaceKey>,
        limit: usize,
    ) -> Result<Vec<(PaceKey, Standing)>, StoreError> {
        let paces = self.shared().paces.locked();
        let behind = paces.iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
        let known = behind.filter(|(_, pace)| pace.standing.epoch > 0);
        Ok(known.take(limit).map(|(key, pace)| (key.clone(), pace.standing.clone())).collect())
    }

    async fn tally(&self, key: &PaceKey, tally: Tally, at: Timestamp) -> Result<Health, StoreError> {
        let health = self.shared().paces.with(key, |pace| {
            pace.health.count(tally, at);
            pace.health.clone()
        });
        let (name, doc, version) =
            (document::write(key)?, document::write(&health)?, health.version.cast_signed());
        let put = self.writer().ask(doc.len(), move |tx| {
            // Two may be written out of order: the later one stays.
            tx.statement(
                "INSERT INTO healths (key, version, doc) VALUES (?1, ?2, ?3)
                 ON CONFLICT (key) DO UPDATE SET version = excluded.version, doc = excluded.doc
                 WHERE excluded.version > version",
            )?
            .execute(params![name, version, doc])?;
            Ok(())
        });
        put.await?;
        Ok(health)
    }

    async fn sit(&self, key: &PaceKey, ask: &SeatAsk) -> Result<Seat, StoreError> {
        Ok(self.shared().paces.with(key, |pace| pace.book.sit(ask)))
    }

    async fn rise(&self, key: &PaceKey, who: &[String]) -> Result<(), StoreError> {
        self.shared().paces.with(key, |pace| pace.book.seats.give_back(who));
        Ok(())
    }

    async fn tokens(&self, key: &PaceKey, ask: &TokenAsk) -> Result<Tokens, StoreError> {
        let (answer, to_write) = self.shared().paces.with(key, |pace| {
            let answer = pace.book.tokens(ask);
            let ahead = pace.book.tat.filter(|tat| pace.written.is_none_or(|written| written < *tat));
            let to_write = ahead.map(|tat| {
                let written = tat.plus(AHEAD_US);
                pace.written = Some(written);
                (written, pace.standing.clone())
            });
            (answer, to_write)
        });
        if let (Tokens::Granted { .. }, Some((tat, standing))) = (&answer, to_write) {
            self.write_pace(key, Some(tat), &standing).await?;
        }
        Ok(answer)
    }

    async fn ticket(&self, line: &LineKey, places: u64, now: Micros) -> Result<u64, StoreError> {
        let (ticket, there) = self.in_line(line, |line| line.ticket(places, now));
        self.write_line(line, there).await?;
        Ok(ticket)
    }

    async fn served(&self, line: &LineKey, places: u64, now: Micros) -> Result<(), StoreError> {
        let ((), there) = self.in_line(line, |line| line.serve(places, now));
        self.write_line(line, there).await
    }

    async fn forget(&self, line: &LineKey, seen: &Line, now: Micros) -> Result<(), StoreError> {
        let (forgot, there) = self.in_line(line, |line| {
            let unmoved = line == seen;
            if unmoved {
                line.serve(line.waiting(), now);
            }
            unmoved
        });
        if forgot { self.write_line(line, there).await } else { Ok(()) }
    }
}
