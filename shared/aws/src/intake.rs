//! Takes submissions in: messages to the bucket, then rows, then what finds them again, then their jobs.
//! What is answered is durable; what is not is there in part, and the same request makes it whole.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use futures::future::try_join_all;
use posthaste_pipeline::row::{Job, Promise, Row, RowKey};
use posthaste_pipeline::spool::place;
use posthaste_pipeline::stores::{Acceptance, Accepted, Intake, StoreError};

use crate::find::Listing;
use crate::item;
use crate::table::{If, Put};
use crate::{Aws, rows, schema};

#[async_trait::async_trait]
impl Intake for Aws {
    async fn accept(&self, submissions: Vec<Acceptance>) -> Result<Vec<Accepted>, StoreError> {
        let objects = objects(&submissions)?;
        try_join_all(objects.into_iter().map(|(object, octets)| self.spool(object, octets))).await?;
        let micros = self.tick();
        let taken = self.take_in(&submissions, micros).await?;
        let new: Vec<&Row> = submissions
            .iter()
            .zip(&taken)
            .filter(|(_, taken)| matches!(taken.answer, Accepted::New))
            .map(|(submission, _)| &submission.row)
            .collect();
        let jobs: Vec<Job> = taken.iter().filter_map(|taken| taken.job.clone()).collect();
        // Once its job is out a row may be written again, and no longer says where it is to be listed.
        futures::try_join!(self.list_new(&new, micros), self.list_known(&taken))?;
        self.send(jobs).await?;
        Ok(taken.into_iter().map(|taken| taken.answer).collect())
    }
}

/// What became of one submission, and the job that is sent for it.
struct Taken {
    answer: Accepted,
    job: Option<Job>,
    /// Where a known message was to be listed.
    listed: Option<u64>,
}

/// Each object with its octets: messages that share one stand there in the order of their ranges.
fn objects(submissions: &[Acceptance]) -> Result<BTreeMap<&str, Bytes>, StoreError> {
    let mut ranges: BTreeMap<&str, BTreeMap<usize, &Bytes>> = BTreeMap::new();
    for submission in submissions {
        let place = place(&submission.row.facts.spool);
        let from = place.range.map_or(0, |range| range.start);
        ranges.entry(place.object).or_default().entry(from).or_insert(&submission.message);
    }
    let mut objects = BTreeMap::new();
    for (object, parts) in ranges {
        if let [(_, only)] = parts.iter().collect::<Vec<_>>()[..] {
            objects.insert(object, (*only).clone());
            continue;
        }
        let mut whole = BytesMut::new();
        for (from, octets) in parts {
            if from != whole.len() {
                return Err(StoreError::Corrupt(format!(
                    "the shared message object {object} has a gap at {from}"
                )));
            }
            whole.extend_from_slice(octets);
        }
        objects.insert(object, whole.freeze());
    }
    Ok(objects)
}

impl Aws {
    /// Writes rows where none are. Of one key twice the first is first.
    async fn take_in(&self, submissions: &[Acceptance], micros: u64) -> Result<Vec<Taken>, StoreError> {
        let mut by_key: HashMap<RowKey, Vec<usize>> = HashMap::new();
        for (at, submission) in submissions.iter().enumerate() {
            by_key.entry(submission.row.row_key()).or_default().push(at);
        }
        let chains = by_key.into_values().map(|chain| async move {
            let mut taken: Vec<(usize, Taken)> = Vec::with_capacity(chain.len());
            for at in chain {
                if let Some(submission) = submissions.get(at) {
                    taken.push((at, self.take_one(submission, micros).await?));
                }
            }
            Ok::<_, StoreError>(taken)
        });
        let mut taken: Vec<(usize, Taken)> = Vec::with_capacity(submissions.len());
        let mut chains: Vec<_> = chains.collect();
        while !chains.is_empty() {
            let some = chains.drain(..chains.len().min(crate::ledger::WRITES_AT_ONCE));
            taken.extend(try_join_all(some).await?.into_iter().flatten());
        }
        taken.sort_by_key(|(at, _)| *at);
        Ok(taken.into_iter().map(|(_, taken)| taken).collect())
    }

    async fn take_one(&self, submission: &Acceptance, micros: u64) -> Result<Taken, StoreError> {
        let row = rows::item(&submission.row, self.ambient(), Some(micros))?;
        let there = match self.table().put(row, If::Absent).await? {
            Put::Done => {
                return Ok(Taken { answer: Accepted::New, job: submission.job.clone(), listed: None });
            }
            Put::Instead(there) => there,
        };
        let there =
            there.ok_or_else(|| StoreError::Unavailable("a row went while it was looked at".to_owned()))?;
        let known = rows::read(&there)?;
        if known.facts.request_hash != submission.row.facts.request_hash {
            return Ok(Taken { answer: Accepted::Conflict, job: None, listed: None });
        }
        // As the row stands now: the first one's successors may be out.
        let open = known.state.is_open() && known.promise == Promise::Job;
        let job = submission.job.clone().filter(|_| open);
        let job = job.map(|job| Job { seq: known.seq, due: known.due, expires: known.expires, ..job });
        let listed =
            there.contains_key(schema::FOUND).then(|| item::integer(&there, schema::FOUND)).transpose()?;
        Ok(Taken { answer: Accepted::Same(Box::new(known)), job, listed })
    }

    async fn list_new(&self, new: &[&Row], micros: u64) -> Result<(), StoreError> {
        let mut by_tenant: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
        for row in new {
            by_tenant.entry(&row.tenant).or_default().push(row);
        }
        for (tenant, rows) in by_tenant {
            self.list_messages(&Listing { tenant, rows, micros }).await?;
        }
        Ok(())
    }

    async fn list_known(&self, taken: &[Taken]) -> Result<(), StoreError> {
        for one in taken {
            if let (Accepted::Same(row), Some(micros)) = (&one.answer, one.listed) {
                self.list_again(row, micros).await?;
            }
        }
        Ok(())
    }
}
