//! The shim's queue: what was acknowledged comes again, in any order, and whoever keeps a job too long loses it.

use async_trait::async_trait;
use posthaste_mail::Timestamp;
use posthaste_pipeline::row::Job;
use posthaste_pipeline::row::Queue as Which;
use posthaste_pipeline::stores::StoreError;

use super::{Handed, Out, PATIENCE, Shim};
use crate::contract::{Delivered, Queue};

impl Handed {
    fn give(&mut self, job: Job, inner: Option<u64>, since: Timestamp) -> Delivered {
        self.last += 1;
        self.out.insert(self.last, Out { job: job.clone(), inner, since });
        Delivered { receipt: self.last, job }
    }

    /// Deliveries that nobody answered for, and copies whose time has come.
    fn given_up(&mut self, lane: Which, now: Timestamp) -> Vec<(Job, Option<u64>)> {
        let late: Vec<u64> = self
            .out
            .iter()
            .filter(|(_, out)| out.job.queue() == lane && out.since.plus(PATIENCE) <= now)
            .map(|(receipt, _)| *receipt)
            .collect();
        let mut given_up: Vec<_> = late
            .into_iter()
            .filter_map(|receipt| self.out.remove(&receipt))
            .map(|out| (out.job, out.inner))
            .collect();
        let (come, later) = std::mem::take(&mut self.again)
            .into_iter()
            .partition(|(from, job)| *from <= now && job.queue() == lane);
        self.again = later;
        let come: Vec<(Timestamp, Job)> = come;
        given_up.extend(come.into_iter().map(|(_, job)| (job, None)));
        given_up
    }
}

#[async_trait]
impl Queue for Shim {
    async fn receive(&self, lane: Which, now: Timestamp, limit: usize) -> Result<Vec<Delivered>, StoreError> {
        self.between("before jobs").await?;
        let fresh = self.queue.receive(lane, now, limit).await?;
        let mut handed = self.handed.lock().unwrap();
        let mut jobs = handed.given_up(lane, now);
        for Delivered { receipt, job } in fresh {
            if self.dice.one_in(6) {
                jobs.push((job.clone(), None));
            }
            jobs.push((job, Some(receipt)));
        }
        let order = self.dice.order(jobs.len());
        Ok(order.into_iter().map(|n| handed.give(jobs[n].0.clone(), jobs[n].1, now)).collect())
    }

    async fn ack(&self, receipt: u64) -> Result<(), StoreError> {
        self.between("before an acknowledgement").await?;
        let (inner, job, since) = {
            let handed = self.handed.lock().unwrap();
            let Some(out) = handed.out.get(&receipt) else { return Ok(()) };
            (out.inner, out.job.clone(), out.since)
        };
        if let Some(inner) = inner {
            self.queue.ack(inner).await?;
        }
        {
            let mut handed = self.handed.lock().unwrap();
            handed.out.remove(&receipt);
            if self.dice.one_in(9) {
                handed.again.push((since, job));
            }
        }
        self.between("before the answer").await
    }

    async fn keep(&self, receipt: u64, until: Timestamp) -> Result<(), StoreError> {
        self.between("before keeping").await?;
        let Some(out) = self.handed.lock().unwrap().out.remove(&receipt) else { return Ok(()) };
        match out.inner {
            Some(inner) => self.queue.keep(inner, until).await?,
            None => self.handed.lock().unwrap().again.push((until, out.job)),
        }
        self.between("before the answer").await
    }
}
