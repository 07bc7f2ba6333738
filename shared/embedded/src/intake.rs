//! Takes submissions in: message, row, lookups and job in one transaction. Reads messages back.

use bytes::Bytes;
use posthaste_pipeline::row::{Job, Promise};
use posthaste_pipeline::stores::{Acceptance, Accepted, Applied, Intake, Spool, StoreError};
use rusqlite::{OptionalExtension, params};

use crate::fault::Fault;
use crate::rows::{self, Prepared};
use crate::writer::Tx;
use crate::{Embedded, document, keys, queue};

/// A submission with its documents made.
struct Submitted {
    row: Prepared,
    message: Bytes,
    job: Option<(Job, Vec<u8>)>,
}

impl Submitted {
    fn new(acceptance: Acceptance) -> Result<Self, StoreError> {
        let row = Prepared::insert(acceptance.row)?;
        let job = acceptance.job.map(|job| document::write(&job).map(|doc| (job, doc))).transpose()?;
        Ok(Self { row, message: acceptance.message, job })
    }

    fn accept(&self, tx: &mut Tx<'_>) -> Result<Accepted, Fault> {
        if rows::insert(tx, &self.row)? == Applied::Stale {
            return self.meet_again(tx);
        }
        let seq = rows::message_seq(tx, self.row.row.message())?;
        tx.statement("INSERT INTO spool (seq, name, body) VALUES (?1, ?2, ?3)")?.execute(params![
            seq,
            self.row.row.facts.spool,
            &*self.message
        ])?;
        // Without a job it is not to be sent soon.
        if let Some((job, doc)) = &self.job {
            tx.bodies.push((self.row.row.clone(), self.message.clone()));
            queue::put(tx, job, doc)?;
        }
        Ok(Accepted::New)
    }

    /// The key is taken: by the same request, or by another.
    fn meet_again(&self, tx: &mut Tx<'_>) -> Result<Accepted, Fault> {
        let Some(known) = rows::current(tx, &self.row.row.key)? else {
            return Err(Fault::Unreadable(format!("{} is there and cannot be found", self.row.row.key)));
        };
        if known.facts.request_hash != self.row.row.facts.request_hash {
            return Ok(Accepted::Conflict);
        }
        if let Some((job, _)) =
            self.job.as_ref().filter(|_| known.state.is_open() && known.promise == Promise::Job)
        {
            // As the row stands now: the first one's successors may be out.
            let job = Job { seq: known.seq, due: known.due, expires: known.expires, ..job.clone() };
            let doc = serde_json::to_vec(&job).map_err(|error| Fault::Unreadable(error.to_string()))?;
            queue::put(tx, &job, &doc)?;
        }
        Ok(Accepted::Same(Box::new((*known).clone())))
    }
}

#[async_trait::async_trait]
impl Intake for Embedded {
    async fn accept(&self, submissions: Vec<Acceptance>) -> Result<Vec<Accepted>, StoreError> {
        let submitted = submissions.into_iter().map(Submitted::new).collect::<Result<Vec<_>, _>>()?;
        let octets = submitted.iter().map(|one| one.message.len() + one.row.octets()).sum();
        self.writer().ask(octets, move |tx| submitted.iter().map(|one| one.accept(tx)).collect()).await
    }
}

#[async_trait::async_trait]
impl Spool for Embedded {
    async fn open(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        if let Some(body) = self.shared().bodies.get(name) {
            return Ok(Some(body));
        }
        let wanted = name.to_owned();
        let body = self.readers().query(move |reading| {
            let mut statement = reading.statement("SELECT body FROM spool WHERE seq = ?1 AND name = ?2")?;
            for seq in keys::places(reading.connection, &reading.shared.keys, keys::of_spool(&wanted))? {
                let body =
                    statement.query_row(params![seq, wanted], |row| row.get::<_, Vec<u8>>(0)).optional()?;
                if body.is_some() {
                    return Ok(body.map(Bytes::from));
                }
            }
            Ok(None)
        });
        let body = body.await?;
        if let Some(body) = &body {
            self.shared().bodies.keep(name, body);
        }
        Ok(body)
    }
}
