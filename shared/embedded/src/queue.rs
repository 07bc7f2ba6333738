//! The work queue: jobs on disk, the next few of each lane in memory, and what a host does with them.
//!
//! Jobs stand in a line by the time from which they are visible, then by arrival. Memory holds the head of each line
//! up to a mark; what stands at or behind the mark is only in the table. So a new job that is due at once is handed
//! over without being read back, a hundred thousand that wait cost nothing, and reading on from the mark never meets
//! what was handed out before, save where the mark has moved forward again: for that, and for nothing else, the
//! places in flight are remembered.
//!
//! To receive a job writes nothing. After a restart every job that was not acknowledged is visible at once.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use posthaste_mail::Timestamp;
use posthaste_pipeline::effect::DeadLetter;
use posthaste_pipeline::row::{Job, Queue as Which};
use posthaste_pipeline::stores::{Later, StoreError};
use rusqlite::{Connection, params};
use tokio::sync::Notify;

use crate::fault::Fault;
use crate::writer::Tx;
use crate::{Embedded, dead_letters, document};

/// Jobs of one lane in memory, about 500 octets each; more wait in the table.
const LINE_JOBS_MAX: usize = 2_048;
/// Jobs read from the table at once, by the writer: about a millisecond.
const REFILL_JOBS: usize = 512;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Mark {
    visible: i64,
    seq: i64,
}

/// Where a job stands, and in which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    queue: Which,
    mark: Mark,
}

/// A job handed to the host. It is nobody else's until it is given back by [`Embedded::ack`], [`Embedded::keep`] or
/// [`Embedded::dead`]; lost, it comes back when the store is opened again.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Names this copy: copies of a job share its id.
    pub receipt: Receipt,
    /// The job.
    pub job: Job,
}

/// One copy of a job in this store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt(Place);

/// What was read of a line.
pub(crate) struct Refilled {
    queue: Which,
    from: Mark,
    jobs: Vec<(Mark, Job)>,
    mark: Option<Mark>,
}

/// The head of one line.
struct Line {
    waiting: BTreeMap<Mark, Job>,
    /// The first place that is only in the table; none: everything is here.
    mark: Option<Mark>,
}

struct Lines {
    lines: [Line; 3],
    in_flight: HashSet<i64>,
}

/// What of the queue is in memory.
pub(crate) struct Queue {
    lines: Mutex<Lines>,
    arrivals: [Notify; 3],
    acked: Mutex<Vec<Place>>,
}

fn index(queue: Which) -> usize {
    match queue {
        Which::Transactional => 0,
        Which::Bulk => 1,
        Which::Slow => 2,
    }
}

impl Line {
    /// Takes a job in if it stands before the mark; says whether it did.
    fn add(&mut self, mark: Mark, job: Job) {
        if self.mark.is_some_and(|only_in_table| only_in_table <= mark) {
            return;
        }
        self.waiting.insert(mark, job);
        if self.waiting.len() > LINE_JOBS_MAX {
            self.mark = self.waiting.pop_last().map(|(last, _)| last);
        }
    }
}

impl Queue {
    pub(crate) fn new() -> Self {
        let line =
            || Line { waiting: BTreeMap::new(), mark: Some(Mark { visible: i64::MIN, seq: i64::MIN }) };
        Self {
            lines: Mutex::new(Lines { lines: [line(), line(), line()], in_flight: HashSet::new() }),
            arrivals: [Notify::new(), Notify::new(), Notify::new()],
            acked: Mutex::default(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the table may have jobs for a receiver of `limit` that memory has not.
    fn is_short(&self, queue: Which, now: Timestamp, limit: usize) -> bool {
        let lines = self.locked();
        let line = &lines.lines[index(queue)];
        let end = Mark { visible: now.0, seq: i64::MAX };
        line.mark.is_some_and(|mark| mark <= end) && line.waiting.range(..=end).take(limit).count() < limit
    }

    fn take(&self, queue: Which, now: Timestamp, limit: usize) -> Vec<Received> {
        let mut lines = self.locked();
        let Lines { lines, in_flight } = &mut *lines;
        let waiting = &mut lines[index(queue)].waiting;
        let mut received = Vec::new();
        while received.len() < limit {
            let Some(first) = waiting.first_entry().filter(|first| first.key().visible <= now.0) else {
                break;
            };
            let (mark, job) = first.remove_entry();
            in_flight.insert(mark.seq);
            received.push(Received { receipt: Receipt(Place { queue, mark }), job });
        }
        received
    }

    fn next_visible(&self, queue: Which) -> Option<Timestamp> {
        let lines = self.locked();
        let line = &lines.lines[index(queue)];
        let first = line.waiting.first_key_value().map(|(mark, _)| *mark).or(line.mark);
        first.map(|mark| Timestamp(mark.visible))
    }

    /// Makes true what a transaction did, reads before writes: what was written behind a mark may stand before the
    /// mark that a read of the same transaction has moved.
    pub(crate) fn publish(&self, refilled: Vec<Refilled>, put: Vec<(Place, Job)>, landed: &[i64]) {
        if refilled.is_empty() && put.is_empty() && landed.is_empty() {
            return;
        }
        let mut came = [false; 3];
        let mut lines = self.locked();
        let Lines { lines, in_flight } = &mut *lines;
        for seq in landed {
            in_flight.remove(seq);
        }
        for Refilled { queue, from, jobs, mark } in refilled {
            let line = &mut lines[index(queue)];
            if line.mark != Some(from) {
                continue;
            }
            line.mark = mark;
            for (mark, job) in jobs {
                if !in_flight.contains(&mark.seq) {
                    line.add(mark, job);
                }
            }
        }
        for (place, job) in put {
            lines[index(place.queue)].add(place.mark, job);
            came[index(place.queue)] = true;
        }
        for (arrival, came) in self.arrivals.iter().zip(came) {
            if came {
                arrival.notify_one();
            }
        }
    }

    /// Acknowledgements not written yet.
    pub(crate) fn take_acked(&self) -> Vec<Place> {
        std::mem::take(&mut *self.acked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// They could not be written; the jobs stay in flight meanwhile.
    pub(crate) fn put_back_acked(&self, acked: Vec<Place>) {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).extend(acked);
    }
}

/// Where the numbers of jobs go on.
pub(crate) fn last_seq(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.query_row("SELECT coalesce(max(seq), 0) FROM jobs", [], |row| row.get(0))?)
}

/// Puts a job into the table, and to be handed over.
pub(crate) fn put(tx: &mut Tx<'_>, job: &Job, doc: &[u8]) -> Result<(), Fault> {
    let seq = tx.shared.last_job.fetch_add(1, Ordering::Relaxed) + 1;
    let place = Place { queue: job.queue(), mark: Mark { visible: job.due.0, seq } };
    put_at(tx, place, job, doc)
}

fn put_at(tx: &mut Tx<'_>, place: Place, job: &Job, doc: &[u8]) -> Result<(), Fault> {
    let Place { queue, mark: Mark { visible, seq } } = place;
    tx.statement(
        "INSERT INTO jobs (lane, visible, seq, message, part, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![index(queue), visible, seq, job.key.message.as_str(), job.key.part, doc])?;
    tx.jobs.push((place, job.clone()));
    Ok(())
}

/// Removes jobs; says how many of them were there.
pub(crate) fn delete(tx: &mut Tx<'_>, places: &[Place]) -> Result<usize, Fault> {
    let mut deleted = 0;
    for Place { queue, mark: Mark { visible, seq } } in places {
        deleted += tx
            .statement("DELETE FROM jobs WHERE lane = ?1 AND visible = ?2 AND seq = ?3")?
            .execute(params![index(*queue), visible, seq])?;
        tx.landed.push(*seq);
    }
    Ok(deleted)
}

/// Reads on from a line's mark. Done by the writer, so that nothing is written meanwhile.
fn refill(tx: &mut Tx<'_>, queue: Which) -> Result<(), Fault> {
    let Some(from) = tx.shared.queue.locked().lines[index(queue)].mark else { return Ok(()) };
    let mut statement = tx.statement(
        "SELECT seq, visible, doc FROM jobs WHERE lane = ?1 AND (visible, seq) >= (?2, ?3)
         ORDER BY visible, seq LIMIT ?4",
    )?;
    let mut rows = statement.query(params![index(queue), from.visible, from.seq, REFILL_JOBS])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        let mark = Mark { seq: row.get(0)?, visible: row.get(1)? };
        jobs.push((mark, document::blob("a job", row, 2)?));
    }
    let last = jobs.last().filter(|_| jobs.len() == REFILL_JOBS).map(|(mark, _)| *mark);
    let mark = last.map(|mark| Mark { seq: mark.seq + 1, ..mark });
    tx.refilled.push(Refilled { queue, from, jobs, mark });
    Ok(())
}

impl Embedded {
    /// Jobs of a lane that are due, longest due first, at most `limit` (and at most 512). Safe to be dropped while
    /// it waits: jobs are handed out only when it returns.
    pub async fn receive(
        &self,
        queue: Which,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Received>, StoreError> {
        let limit = limit.min(REFILL_JOBS);
        while self.shared().queue.is_short(queue, now, limit) {
            self.writer().ask(0, move |tx| refill(tx, queue)).await?;
        }
        Ok(self.shared().queue.take(queue, now, limit))
    }

    /// When the next job of a lane is due that nobody has; a time long past when the table has to be looked at.
    pub fn next_due(&self, queue: Which) -> Option<Timestamp> {
        self.shared().queue.next_visible(queue)
    }

    /// Waits until a job has come into a lane since this returned last. For one waiter a lane.
    pub async fn arrival(&self, queue: Which) {
        self.shared().queue.arrivals[index(queue)].notified().await;
    }

    /// These are done: they are deleted with the next group. Not to be waited for, since a job that comes again
    /// does no harm.
    pub fn ack(&self, receipts: impl IntoIterator<Item = Receipt>) {
        let is_first = {
            let mut acked = self.shared().queue.acked.lock().unwrap_or_else(PoisonError::into_inner);
            let before = acked.len();
            acked.extend(receipts.into_iter().map(|Receipt(place)| place));
            before == 0 && !acked.is_empty()
        };
        if is_first {
            self.writer().nudge();
        }
    }

    /// Hides a job until then. When this fails it is still handed out: ask again, or leave it to the row's wake.
    pub async fn keep(&self, received: &Received, until: Timestamp) -> Result<(), StoreError> {
        self.put_back(received.receipt, received.job.clone(), until).await
    }

    /// Puts in the place of a job handed out the same job with what it has learnt, hidden until it is due.
    pub async fn keep_as(&self, receipt: Receipt, job: Job) -> Result<(), StoreError> {
        let until = job.due;
        self.put_back(receipt, job, until).await
    }

    async fn put_back(&self, receipt: Receipt, job: Job, until: Timestamp) -> Result<(), StoreError> {
        let Receipt(place) = receipt;
        let hidden = Place { queue: job.queue(), mark: Mark { visible: until.0, ..place.mark } };
        let doc = document::write(&job)?;
        let kept = self.writer().ask(doc.len(), move |tx| {
            let was_there = delete(tx, &[place])? > 0;
            if was_there { put_at(tx, hidden, &job, &doc) } else { Ok(()) }
        });
        kept.await
    }

    /// Puts a job aside with its reason, and takes it out of the queue.
    pub async fn dead(&self, received: &Received, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let Received { receipt: Receipt(place), job } = received;
        let letter = DeadLetter {
            job: job.id.clone(),
            key: job.key.clone(),
            tenant: job.tenant.clone(),
            reason: reason.to_owned(),
            at: now,
        };
        let (place, doc) = (*place, document::write(&letter)?);
        self.writer()
            .ask(doc.len(), move |tx| {
                dead_letters::put(tx, &letter, &doc)?;
                delete(tx, &[place]).map(|_| ())
            })
            .await
    }

    /// Jobs handed out and not given back.
    pub fn in_flight(&self) -> usize {
        self.shared().queue.locked().in_flight.len()
    }
}

#[async_trait::async_trait]
impl Later for Embedded {
    async fn put(&self, jobs: Vec<Job>) -> Result<(), StoreError> {
        let jobs = jobs
            .into_iter()
            .map(|job| document::write(&job).map(|doc| (job, doc)))
            .collect::<Result<Vec<_>, _>>()?;
        let octets = jobs.iter().map(|(_, doc)| doc.len()).sum();
        self.writer().ask(octets, move |tx| jobs.iter().try_for_each(|(job, doc)| put(tx, job, doc))).await
    }
}
