//! What follows steps, done for a whole batch at once and in an order that holds for each: rows, suppressions, jobs,
//! dead letters, events. Whoever sees a job finds its row, and a suppression is durable before the next try can be.

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use posthaste_pipeline::effect::{Effect, Event};
use posthaste_pipeline::row::{Job, Row};
use posthaste_pipeline::stores::StoreError;

use crate::ledger::WRITES_AT_ONCE;
use crate::table::If;
use crate::{Aws, rows};

impl Aws {
    /// Does effects; each can be done again.
    pub(crate) async fn follow(&self, effects: Vec<Effect>) -> Result<(), StoreError> {
        let (mut new, mut suppressed, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        let mut jobs: Vec<Job> = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Row(row) => new.push(*row),
                Effect::Suppress(entry) => suppressed.push(entry),
                Effect::Job(job) => jobs.push(job),
                Effect::DeadLetter(letter) => dead.push(letter),
                Effect::Event(event) => events.push(*event),
            }
        }
        self.put_rows(new).await?;
        // One mailbox may stand there twice: one after the other.
        for entry in suppressed {
            self.suppress_unless_longer(entry).await?;
        }
        self.send(jobs).await?;
        try_join_all(dead.into_iter().map(|letter| self.put_aside(letter))).await?;
        self.tell(events).await
    }

    /// Puts each row unless one is there.
    async fn put_rows(&self, new: Vec<Row>) -> Result<(), StoreError> {
        stream::iter(new)
            .map(|row| async move {
                let item = rows::item(&row, self.ambient(), None)?;
                self.table().put(item, If::Absent).await
            })
            .buffer_unordered(WRITES_AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await
    }
}
