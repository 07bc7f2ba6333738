//! One worker of a trunk: it keeps a connection, takes jobs in turn, and goes when there is nothing left to do.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use posthaste_mail::{Lane, Timestamp};
use posthaste_smtp::Manner;
use tokio::time::Instant;
use tracing::Instrument;

use super::claims::Claimed;
use super::dial::{Line, NoLine, Wish, down_for};
use super::doubt::place_of;
use super::outcome::Failure;
use super::place::Place;
use super::seat::SeatHeld;
use super::tell::Heard;
use super::trunk::{Trunk, Work};
use super::turn::Leave;
use super::way::Way;
use super::wired::Wired;
use super::{Disposition, Inner};

/// Where all connections there may be are taken, an idle one waits so long for a job: long enough for one that was told
/// to come back, short enough for whoever has none.
const FULL_PATIENCE: Duration = Duration::from_secs(1);

/// Works until the trunk is empty.
pub(super) async fn work(inner: Arc<Inner>, trunk: Arc<Trunk>) {
    let mut line: Option<Line> = None;
    loop {
        let wired = inner.wiring.of(&inner.ambient.policy.get());
        let open = line.as_ref().map(|line| (line.site.clone(), line.seat.clone()));
        let patience = inner.patience(open, wired.policy.smtp.idle_timeout).await;
        let Some(batch) = trunk.next(patience).await else { break };
        let Some(first) = batch.first() else { continue };
        let (way, lane, probe) = (first.way.clone(), first.job.lane, first.probe);
        if let Some(open) = line.take_if(|open| !inner.serves_on(open, lane)) {
            inner.hang_up(open).await;
        }
        if line.is_none() {
            let began = Instant::now();
            let deadline = inner.instant(latest_deadline(&batch));
            let wish = Wish { not: None, manner: Manner::Full, lane, probe };
            match inner.dial(&wired, &way, wish, deadline).await {
                Ok(open) => line = Some(open),
                Err(NoLine::Later(at)) => return inner.no_seat(&trunk, batch, at).await,
                Err(NoLine::OutOfTime) => {
                    let now = inner.ambient.now();
                    batch.into_iter().for_each(|work| work.end(Disposition::KeepUntil(now)));
                    continue;
                }
                Err(NoLine::Failed(failure)) => {
                    trunk.down(inner.ambient.now().plus(down_for(began.elapsed())));
                    let mut everybody = batch;
                    everybody.extend(trunk.everybody());
                    inner.fail_all(&wired, everybody, &failure, &way).await;
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

    /// How long a worker waits for the next message with its connection open: not at all without one, or where others
    /// may be waiting for its seat.
    async fn patience(&self, open: Option<(Place, Option<Arc<SeatHeld>>)>, idle: Duration) -> Duration {
        let Some((site, seat)) = open else { return Duration::ZERO };
        let Some(paced) = &site.paced else { return idle };
        match self.paces.view(paced).await {
            Ok(view) => {
                let limits = site.limits(&self.ambient.policy.get());
                let allowed = view.standing.allowed(&limits, None, self.ambient.now());
                if let Some(seat) = &seat {
                    seat.of(allowed.connections);
                }
                if view.seats >= allowed.connections { FULL_PATIENCE.min(idle) } else { idle }
            }
            Err(_) => Duration::ZERO,
        }
    }

    /// Whether a connection takes another message of a lane.
    fn serves_on(&self, line: &Line, lane: Lane) -> bool {
        let now = self.ambient.now();
        let makes_room =
            || lane == Lane::Bulk && line.site.paced.as_ref().is_some_and(|paced| paced.makes_room());
        // Who hangs up anyway makes room by it, and is not counted as one who was asked to.
        line.messages < line.messages_max
            && line.seat.as_ref().is_none_or(|seat| seat.holds(now))
            && !makes_room()
    }

    /// No connection is to be had now: those who have one serve this trunk's jobs too, or the jobs come back.
    async fn no_seat(&self, trunk: &Trunk, batch: Vec<Work>, at: Timestamp) {
        if trunk.resign(batch) {
            return;
        }
        let back = trunk.everybody().into_iter().map(|work| async move {
            let disposition = self.wait(&work.job, &work.way, trunk, at).await;
            work.end(disposition);
        });
        join_all(back).await;
    }

    /// Nobody could be reached: that is each waiting message's outcome, and says something of the receiver once.
    async fn fail_all(&self, wired: &Wired, works: Vec<Work>, failure: &Failure, way: &Way) {
        if let Some(first) = works.first() {
            self.tell(wired, &first.job, vec![Heard::of_failure(failure, self.own_place(way))]).await;
        }
        let site = way.site.as_str();
        let told = works.into_iter().map(|work| async move {
            let disposition = self.fail(&work.job, failure, Some(site)).await;
            self.left_the_line(&work.job, &work.way).await;
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
        let site = line.site.clone();
        let left = line.messages_max.saturating_sub(line.messages + 1);
        let mut line = Some(line);
        let Some(first) = batch.first() else { return line };
        let site_name = first.way.site.to_string();
        let mut leave = match self.ask_leave(&site, first, trunk, left).await {
            Ok(leave) => Some(leave),
            Err(later) => {
                let way = first.way.clone();
                for work in batch {
                    let disposition = self.wait(&work.job, &way, trunk, later).await;
                    work.end(disposition);
                }
                return line;
            }
        };
        let jobs: Vec<_> = batch.iter().map(|work| work.job.clone()).collect();
        let claims = self.claim(&jobs, Some(site_name.as_str())).await;
        for (work, claimed) in batch.drain(..).zip(claims) {
            let row = match claimed {
                Claimed::Over(disposition) => {
                    self.left_the_line(&work.job, &work.way).await;
                    work.end(disposition);
                    continue;
                }
                Claimed::Mine(row) => row,
            };
            // The first one's leave was asked before its claim; the others hold their rows while they wait, which is
            // short: only fast sites have several claimed at once.
            let leave = match leave.take() {
                Some(leave) => Some(leave),
                None => self.leave_of_a_claimed(&site, &work, trunk, left).await,
            };
            let Some(leave) = leave else {
                // Nothing was said to anybody: it comes again, and stands in line as one that was not claimed.
                let disposition = self.settle(&row, &work.job, &[]).await;
                work.end(disposition);
                continue;
            };
            let began = Instant::now();
            let there = place_of(line.as_ref());
            let (row, told, heard) = self.send(wired, &work, *row, &mut line, leave).await;
            trunk.served(began.elapsed());
            let (inner, wired) = (self.clone(), wired.clone());
            let settle = async move {
                inner.tell(&wired, &work.job, heard).await;
                let disposition = match told {
                    Some(mut told) => {
                        let known = inner.weigh(&row, &mut told).await;
                        if let Some(there) = &there {
                            let said = (&mut *told, known);
                            inner.count_mailboxes(&wired, &work.job, there, &row, said).await;
                        }
                        inner.settle(&row, &work.job, &told).await
                    }
                    // The row is somebody else's by now: this job is stale.
                    None => Disposition::Done,
                };
                inner.left_the_line(&work.job, &work.way).await;
                work.end(disposition);
            };
            tokio::spawn(settle.in_current_span());
        }
        line
    }

    /// Leave for a row that is held meanwhile; none if that would be for long.
    async fn leave_of_a_claimed(&self, site: &Place, work: &Work, trunk: &Trunk, left: u32) -> Option<Leave> {
        /// Refusals that are waited for, each for at most [`HELD_FOR`].
        const REFUSALS_MAX: u32 = 5;
        /// A row is not kept from others longer than this for a receiver's sake.
        const HELD_FOR: Duration = Duration::from_secs(5);
        for _ in 0..REFUSALS_MAX {
            match self.ask_leave(site, work, trunk, left).await {
                Ok(leave) => return Some(leave),
                Err(later) if later.since(self.ambient.now()) > HELD_FOR => return None,
                Err(later) => tokio::time::sleep_until(self.instant(later)).await,
            }
        }
        None
    }

    async fn ask_leave(
        &self,
        site: &Place,
        work: &Work,
        trunk: &Trunk,
        left: u32,
    ) -> Result<Leave, Timestamp> {
        let recipients = u32::from(work.job.recipients);
        let allowed = self.allowed(site, None).await?;
        let at_once = recipients.min(allowed.recipients_per_message).max(1);
        self.leave(site, work, trunk.spendable(work.job.lane, left), at_once).await
    }
}
