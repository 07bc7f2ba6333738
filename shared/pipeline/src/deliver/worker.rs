//! One worker of a trunk: it keeps a connection, takes jobs in turn, and goes when there is nothing left to do.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use posthaste_mail::{Lane, Timestamp};
use posthaste_policy::pacing::{Answer, Micros};
use tokio::time::Instant;
use tracing::Instrument;

use super::claims::Claimed;
use super::dial::{Line, NoLine, Wish, down_for};
use super::outcome::Failure;
use super::pacer::PaceKey;
use super::trunk::{Trunk, Work};
use super::way::Way;
use super::wired::Wired;
use super::{Disposition, Inner};
use crate::meter::Happened;

/// A token whose time is further off than this is not waited for with a connection in hand.
const TOKEN_WAIT_MAX: Duration = Duration::from_secs(5);
/// When all seats of a site are taken by others: how long until one may be free.
const SEAT_WAIT: Duration = Duration::from_secs(2);

/// Works until the trunk is empty.
pub(super) async fn work(inner: Arc<Inner>, trunk: Arc<Trunk>) {
    let mut line: Option<Line> = None;
    loop {
        let wired = inner.wiring.of(&inner.ambient.policy.get());
        // Without a connection there is nothing to keep warm.
        let patience = if line.is_some() { wired.policy.smtp.idle_timeout } else { Duration::ZERO };
        let Some(batch) = trunk.next(patience).await else { break };
        let Some(way) = batch.first().map(|work| work.way.clone()) else { continue };
        if line.as_ref().is_some_and(|line| line.messages >= way.shape.messages_per_connection)
            && let Some(spent) = line.take()
        {
            inner.hang_up(spent).await;
        }
        if line.is_none() {
            let began = Instant::now();
            let deadline = inner.instant(latest_deadline(&batch));
            match inner.dial(&wired, &way, Wish::NONE, deadline).await {
                Ok(open) => line = Some(open),
                Err(NoLine::Full) => return inner.no_seat(&trunk, batch),
                Err(NoLine::OutOfTime) => {
                    let now = inner.ambient.now();
                    batch.into_iter().for_each(|work| work.end(Disposition::KeepUntil(now)));
                    continue;
                }
                Err(NoLine::Failed(failure)) => {
                    trunk.down(inner.ambient.now().plus(down_for(began.elapsed())));
                    let mut everybody = batch;
                    everybody.extend(trunk.everybody());
                    inner.fail_all(everybody, &failure, &way).await;
                    continue;
                }
            }
        }
        if let Some(open) = line.take() {
            line = inner.serve(&wired, &trunk, batch, open).await;
        }
    }
    if let Some(line) = line {
        inner.hang_up(line).await;
    }
}

fn latest_deadline(batch: &[Work]) -> Timestamp {
    batch.iter().map(|work| work.deadline).max().unwrap_or_default()
}

impl Inner {
    /// When a point in time comes, by the runtime's clock.
    pub(super) fn instant(&self, at: Timestamp) -> Instant {
        /// Further off than anything here lasts, and still a time the runtime can tell.
        const FAR: Duration = Duration::from_secs(24 * 3600);
        Instant::now() + at.since(self.ambient.now()).min(FAR)
    }

    /// All seats are taken: those who have them serve this trunk's jobs too, or the jobs come back.
    fn no_seat(&self, trunk: &Trunk, batch: Vec<Work>) {
        if !trunk.resign(batch) {
            let until = self.ambient.now().plus(SEAT_WAIT);
            for work in trunk.everybody() {
                self.ambient.note(Happened::Paced { lane: work.job.lane });
                work.end(Disposition::KeepUntil(until));
            }
        }
    }

    /// Nobody could be reached: that is each waiting message's outcome.
    async fn fail_all(&self, works: Vec<Work>, failure: &Failure, way: &Way) {
        let site = way.site.as_str();
        let told = works.into_iter().map(|work| async move {
            let disposition = self.fail(&work.job, failure, Some(site)).await;
            work.end(disposition);
        });
        join_all(told).await;
    }

    /// Sends a batch over an open line; what is left of the line.
    async fn serve(
        self: &Arc<Self>,
        wired: &Arc<Wired>,
        trunk: &Trunk,
        mut batch: Vec<Work>,
        line: Line,
    ) -> Option<Line> {
        let seat = line.seat.clone();
        let mut line = Some(line);
        if let Some(first) = batch.first()
            && let Err(later) = self.leave(first, &seat).await
        {
            batch.into_iter().for_each(|work| {
                let until = later.min(work.job.expires);
                self.ambient.note(Happened::Paced { lane: work.job.lane });
                work.end(Disposition::KeepUntil(until));
            });
            return line;
        }
        let jobs: Vec<_> = batch.iter().map(|work| work.job.clone()).collect();
        let claims = self.claim(&jobs).await;
        for (nth, (work, claimed)) in batch.drain(..).zip(claims).enumerate() {
            let row = match claimed {
                Claimed::Over(disposition) => {
                    work.end(disposition);
                    continue;
                }
                Claimed::Mine(row) => row,
            };
            if nth > 0 {
                // The first one's leave was asked before its claim; these hold their rows while they wait, which
                // is short: only fast sites have several claimed at once.
                while let Err(later) = self.leave(&work, &seat).await {
                    tokio::time::sleep_until(self.instant(later)).await;
                }
            }
            let began = Instant::now();
            let (row, told) = self.send(wired, &work, *row, &mut line).await;
            trunk.served(began.elapsed());
            let inner = self.clone();
            let settle = async move {
                let disposition = match told {
                    Some(mut told) => {
                        inner.weigh(&row, &mut told).await;
                        inner.settle(&row, &work.job, &told).await
                    }
                    // The row is somebody else's by now: this job is stale.
                    None => Disposition::Done,
                };
                work.end(disposition);
            };
            tokio::spawn(settle.in_current_span());
        }
        line
    }

    /// Asks for leave to send one job's recipients, and waits for it if it is near. Else: when to ask again.
    async fn leave(&self, work: &Work, seat: &PaceKey) -> Result<(), Timestamp> {
        self.leave_at(seat, work.job.lane, u32::from(work.job.recipients), &work.way).await
    }

    pub(super) async fn leave_at(
        &self,
        key: &PaceKey,
        lane: Lane,
        recipients: u32,
        way: &Way,
    ) -> Result<(), Timestamp> {
        let pace = way.shape.pace(lane);
        if pace.rate.interval_us() == 0 {
            return Ok(());
        }
        let begun = self.ambient.now();
        loop {
            let now = self.ambient.now();
            let micros = Micros::from_millis(now.0);
            let at = match self.pacer.tokens(key, recipients, &pace, micros).await {
                Answer::Granted(_, _, grant) => {
                    let from = Timestamp(grant.from.to_millis());
                    if from > now {
                        tokio::time::sleep_until(self.instant(from)).await;
                    }
                    return Ok(());
                }
                Answer::Later(at) => Timestamp(at.to_millis() + 1),
            };
            if at.since(begun) > TOKEN_WAIT_MAX {
                return Err(at);
            }
            tokio::time::sleep_until(self.instant(at)).await;
        }
    }
}
