//! Rows, their steps and what finds them again.

use std::collections::HashMap;

use posthaste_mail::{Domain, MessageId, PartKey, Tenant, Timestamp};
use posthaste_pipeline::effect::{DeadLetter, Effect, Event, Step, Suppression};
use posthaste_pipeline::row::{Job, Row, RowKey, State};
use posthaste_pipeline::stores::{Applied, Found, Ledger, Search, StoreError, WaitingGroup};
use rusqlite::params;

use crate::fault::Fault;
use crate::readers::Reading;
use crate::rows::{self, Prepared, Standing};
use crate::writer::Tx;
use crate::{Embedded, dead_letters, document, feed, keys, queue, suppressions};

/// Ids of one page, rows of one look at what is overdue: bounds the memory of one answer.
const PAGE_MAX: usize = 1_000;
/// Groups of one answer; those with the most rows are told.
const GROUPS_MAX: usize = 10_000;

/// An effect with its document made.
pub(crate) enum PreparedEffect {
    Row(Box<Prepared>),
    Job(Job, Vec<u8>),
    Suppress(Box<Suppression>, Vec<u8>),
    Event(Box<Event>, Vec<u8>),
    DeadLetter(Box<DeadLetter>, Vec<u8>),
}

impl PreparedEffect {
    fn new(effect: Effect) -> Result<Self, StoreError> {
        Ok(match effect {
            Effect::Row(row) => Self::Row(Box::new(Prepared::insert(*row)?)),
            Effect::Job(job) => {
                let doc = document::write(&job)?;
                Self::Job(job, doc)
            }
            Effect::Suppress(entry) => {
                let doc = document::write(&entry)?;
                Self::Suppress(Box::new(entry), doc)
            }
            Effect::Event(event) => {
                let doc = document::write(&*event)?;
                Self::Event(event, doc)
            }
            Effect::DeadLetter(letter) => {
                let doc = document::write(&letter)?;
                Self::DeadLetter(Box::new(letter), doc)
            }
        })
    }

    fn octets(&self) -> usize {
        match self {
            Self::Row(row) => row.octets(),
            Self::Job(_, doc) | Self::Suppress(_, doc) | Self::Event(_, doc) | Self::DeadLetter(_, doc) => {
                doc.len()
            }
        }
    }

    fn perform(&self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        match self {
            Self::Row(row) => rows::insert(tx, row).map(|_| ()),
            Self::Job(job, doc) => queue::put(tx, job, doc),
            Self::Suppress(entry, doc) => suppressions::put_unless_longer(tx, entry, doc),
            Self::Event(event, doc) => feed::put(tx, event, doc),
            Self::DeadLetter(letter, doc) => dead_letters::put(tx, letter, doc),
        }
    }
}

/// A step with its documents made.
struct PreparedStep {
    expect: u64,
    row: Prepared,
    effects: Vec<PreparedEffect>,
}

impl PreparedStep {
    fn new(step: Step) -> Result<Self, StoreError> {
        let mut row = step.row;
        row.version = step.expect + 1;
        let row = if step.expect == 0 { Prepared::insert(row)? } else { Prepared::update(row)? };
        let effects = step.effects.into_iter().map(PreparedEffect::new).collect::<Result<_, _>>()?;
        Ok(Self { expect: step.expect, row, effects })
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Applied, Fault> {
        if rows::write(tx, self.expect, &self.row)? == Applied::Stale {
            return Ok(Applied::Stale);
        }
        for effect in &self.effects {
            effect.perform(tx)?;
        }
        Ok(Applied::Yes)
    }

    /// Lets go of the message of a row that will not be sent in the next moments.
    fn release_body(&self, embedded: &Embedded) {
        if !matches!(self.row.row.state, State::Queued | State::Sending | State::Split) {
            embedded.shared().bodies.forget(&self.row.row.facts.spool);
        }
    }
}

#[async_trait::async_trait]
impl Ledger for Embedded {
    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let mut found: Vec<Option<Row>> = keys
            .iter()
            .map(|key| self.shared().rows.get(&key.part).map(|slot| Row::clone(&slot.row)))
            .collect();
        let missing: Vec<(usize, PartKey)> = keys
            .iter()
            .enumerate()
            .filter(|(at, _)| found[*at].is_none())
            .map(|(at, key)| (at, key.part.clone()))
            .collect();
        if missing.is_empty() {
            return Ok(own(keys, found));
        }
        let read = self.readers().query(move |reading| {
            let mut read = Vec::with_capacity(missing.len());
            for (at, key) in missing {
                let stored = rows::stored(reading.connection, &reading.shared.keys, &key)?;
                read.push((at, stored.map(|(_, row)| row)));
            }
            Ok(read)
        });
        for (at, row) in read.await? {
            found[at] = row;
        }
        Ok(own(keys, found))
    }

    async fn apply(&self, steps: Vec<Step>) -> Result<Vec<Applied>, StoreError> {
        let steps = steps.into_iter().map(PreparedStep::new).collect::<Result<Vec<_>, _>>()?;
        for step in &steps {
            step.release_body(self);
        }
        let octets = steps
            .iter()
            .map(|step| step.row.octets() + step.effects.iter().map(PreparedEffect::octets).sum::<usize>())
            .sum();
        self.writer().ask(octets, move |tx| steps.iter().map(|step| step.apply(tx)).collect()).await
    }

    async fn perform(&self, effects: Vec<Effect>) -> Result<(), StoreError> {
        let effects = effects.into_iter().map(PreparedEffect::new).collect::<Result<Vec<_>, _>>()?;
        let octets = effects.iter().map(PreparedEffect::octets).sum();
        self.writer().ask(octets, move |tx| effects.iter().try_for_each(|effect| effect.perform(tx))).await
    }

    async fn message(&self, tenant: &Tenant, id: &MessageId) -> Result<Vec<Row>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        let read = self.readers().query(move |reading| {
            let rows = rows::of_message(reading.connection, &reading.shared.keys, &id)?;
            Ok(rows.into_iter().map(|(_, row)| row).filter(|row| row.tenant == tenant).collect())
        });
        read.await
    }

    async fn find(&self, search: &Search) -> Result<Found, StoreError> {
        let search = Search { limit: search.limit.clamp(1, PAGE_MAX), ..search.clone() };
        let before = match &search.after {
            None => i64::MAX,
            // A cursor that is none of ours stands behind everything.
            Some(after) => after.parse().unwrap_or(i64::MIN),
        };
        self.readers().query(move |reading| find(reading, &search, before)).await
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Row>, StoreError> {
        let limit = limit.min(PAGE_MAX);
        if !self.shared().wakes.may_have_come(now) {
            return Ok(Vec::new());
        }
        self.readers().query(move |reading| overdue(reading, now, limit)).await
    }

    async fn held(&self, hold: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        let (hold, limit) = (hold.to_owned(), limit.min(PAGE_MAX));
        self.readers().query(move |reading| held(reading, &hold, limit)).await
    }

    async fn waiting(&self, tenant: Option<&Tenant>) -> Result<Vec<WaitingGroup>, StoreError> {
        let tenant = tenant.cloned();
        self.readers().query(move |reading| waiting(reading, tenant.as_ref())).await
    }
}

/// What is another tenant's is not there.
fn own(keys: &[RowKey], found: Vec<Option<Row>>) -> Vec<Option<Row>> {
    let own = |(row, key): (Option<Row>, &RowKey)| row.filter(|row| row.tenant == key.tenant);
    found.into_iter().zip(keys).map(own).collect()
}

/// The places under a hash before `before`, newest first: those in memory and those in the table, as one line.
struct Places<'a> {
    pending: std::iter::Peekable<std::vec::IntoIter<i64>>,
    stored: rusqlite::Rows<'a>,
    next_stored: Option<i64>,
}

impl Places<'_> {
    fn next(&mut self) -> Result<Option<i64>, Fault> {
        if self.next_stored.is_none() {
            self.next_stored = self.stored.next()?.map(|row| row.get(0)).transpose()?;
        }
        let newest = self.pending.peek().copied().max(self.next_stored);
        // What stands in both is one.
        self.pending.next_if(|seq| Some(*seq) == newest);
        self.next_stored = self.next_stored.filter(|seq| Some(*seq) != newest);
        Ok(newest)
    }
}

/// One page of ids that arrived before `before`.
fn find(reading: &Reading<'_>, search: &Search, before: i64) -> Result<Found, Fault> {
    let key = keys::of_search(search.tenant.as_str(), &search.by);
    // Memory first: what leaves it meanwhile is in the table by then.
    let pending = reading.shared.keys.pending(key, before).into_iter().peekable();
    let mut stored =
        reading.statement("SELECT seq FROM keys WHERE key = ?1 AND seq < ?2 ORDER BY seq DESC")?;
    let mut places = Places { pending, stored: stored.query([key, before])?, next_stored: None };
    let mut statement =
        reading.statement("SELECT doc FROM rows WHERE seq = ?1 AND tenant = ?2 AND part = 0")?;
    let mut found = Found::default();
    let mut last = before;
    while let Some(seq) = places.next()? {
        let mut rows = statement.query(params![seq, search.tenant.as_str()])?;
        let Some(row) = rows.next()? else { continue };
        let row: Row = document::blob("a row", row, 0)?;
        if !keys::matches(&row, &search.by) {
            continue;
        }
        if found.ids.len() == search.limit {
            found.next = Some(last.to_string());
            break;
        }
        last = seq;
        found.ids.push(row.key.message);
    }
    Ok(found)
}

/// Rows whose wake has come, and when the first of the others will.
fn overdue(reading: &Reading<'_>, now: Timestamp, limit: usize) -> Result<Vec<Row>, Fault> {
    let look = reading.shared.wakes.look();
    let mut statement = reading.statement(
        "SELECT rows.doc FROM (SELECT seq, wake FROM open WHERE wake <= ?1 ORDER BY wake, seq LIMIT ?2) AS come
         CROSS JOIN rows ON rows.seq = come.seq ORDER BY come.wake, come.seq",
    )?;
    let mut rows = statement.query(params![now.0, limit])?;
    let mut come = Vec::new();
    while let Some(row) = rows.next()? {
        come.push(document::blob("a row", row, 0)?);
    }
    let first =
        reading.statement("SELECT min(wake) FROM open")?.query_row([], |row| row.get::<_, Option<i64>>(0))?;
    look.found(first.unwrap_or(i64::MAX));
    Ok(come)
}

fn held(reading: &Reading<'_>, hold: &str, limit: usize) -> Result<Vec<Row>, Fault> {
    let mut statement = reading.statement(
        "SELECT rows.doc FROM (SELECT seq FROM open WHERE hold = ?1 ORDER BY seq LIMIT ?2) AS there
         CROSS JOIN rows ON rows.seq = there.seq",
    )?;
    let mut rows = statement.query(params![hold, limit])?;
    let mut held = Vec::new();
    while let Some(row) = rows.next()? {
        held.push(document::blob("a row", row, 0)?);
    }
    Ok(held)
}

/// What is known of a group while its rows go by.
struct Gathered {
    group: WaitingGroup,
    /// The row that is due next: those that wait before those being sent, then by time.
    next: (bool, i64),
    next_seq: i64,
}

fn waiting(reading: &Reading<'_>, tenant: Option<&Tenant>) -> Result<Vec<WaitingGroup>, Fault> {
    let mut statement = reading.statement(
        "SELECT seq, standing = ?2, domain, site, accepted, due, expires FROM open
         WHERE standing <> ?3 AND (?1 IS NULL OR tenant = ?1)",
    )?;
    let mut open = statement.query(params![
        tenant.map(Tenant::as_str),
        Standing::Sending as u8,
        Standing::Final as u8
    ])?;
    let mut groups: HashMap<(Option<String>, Option<String>), Gathered> = HashMap::new();
    while let Some(row) = open.next()? {
        let (seq, sending): (i64, bool) = (row.get(0)?, row.get(1)?);
        let (accepted, due, expires) = (Timestamp(row.get(4)?), row.get(5)?, Timestamp(row.get(6)?));
        let next = (sending, due);
        groups
            .entry((row.get(2)?, row.get(3)?))
            .and_modify(|known| {
                known.group.count += 1;
                known.group.sending += u64::from(sending);
                known.group.oldest = known.group.oldest.min(accepted);
                known.group.first_expiry = known.group.first_expiry.min(expires);
                if next < known.next {
                    (known.next, known.next_seq) = (next, seq);
                }
            })
            .or_insert_with(|| Gathered {
                group: WaitingGroup {
                    domain: None,
                    site: None,
                    count: 1,
                    sending: u64::from(sending),
                    oldest: accepted,
                    next_due: Timestamp(due),
                    first_expiry: expires,
                    sample: RowKey {
                        tenant: Tenant::default_tenant(),
                        part: PartKey { message: MessageId::derived(&[]), part: 0 },
                    },
                },
                next,
                next_seq: seq,
            });
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|(a_name, a), (b_name, b)| {
        b.group.count.cmp(&a.group.count).then_with(|| a_name.cmp(b_name))
    });
    groups.truncate(GROUPS_MAX);
    groups.into_iter().map(|(name, gathered)| name_group(reading, name, gathered)).collect()
}

/// Gives a group its domain, its site and the row that is due next.
fn name_group(
    reading: &Reading<'_>,
    (domain, site): (Option<String>, Option<String>),
    gathered: Gathered,
) -> Result<WaitingGroup, Fault> {
    let unreadable = |what: &str| Fault::Unreadable(format!("`{what}` in the list of open rows"));
    let (message, part, tenant): (String, u16, String) = reading
        .statement("SELECT message, part, tenant FROM rows WHERE seq = ?1")?
        .query_row([gathered.next_seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let message = MessageId::parse(&message).ok_or_else(|| unreadable(&message))?;
    let tenant = Tenant::parse(&tenant).ok_or_else(|| unreadable(&tenant))?;
    let domain = domain.map(|text| Domain::parse(&text).map_err(|_| unreadable(&text))).transpose()?;
    Ok(WaitingGroup {
        domain,
        site,
        next_due: Timestamp(gathered.next.1),
        sample: RowKey { tenant, part: PartKey { message, part } },
        ..gathered.group
    })
}
