//! The traits of the pipeline over the simulated store.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_mail::{Address, Domain, JobId, KeyId, MessageId, Tenant, Timestamp, UploadId};
use posthaste_pipeline::access::{KeyRecord, Taken};
use posthaste_pipeline::deliver::return_path::TenantTag;
use posthaste_pipeline::effect::{DeadLetter, Effect, Event, Step, Suppression};
use posthaste_pipeline::feedback::{KeptReport, Reports};
use posthaste_pipeline::identity::{DomainReport, Identities, Identity, Sealer, Watched, Watches};
use posthaste_pipeline::row::{Job, Promise, Row, RowKey, State};
use posthaste_pipeline::stores::{
    Acceptance, Accepted, Applied, Controls, DeadLetters, Directory, Feed, Found, Hold, Intake, Later,
    Ledger, Quotas, Search, Spool, StoreError, Stores, Suppressions, Uploads, WaitingGroup,
};
use posthaste_pipeline::upload::{UploadOffer, UploadWay};
use posthaste_policy::QuotaLimits;

use super::store::Hand;

impl Hand {
    pub fn stores(&self) -> Stores {
        let all = Arc::new(self.clone());
        Stores {
            intake: all.clone(),
            spool: all.clone(),
            ledger: all.clone(),
            later: all.clone(),
            suppressions: all.clone(),
            feed: all.clone(),
            dead_letters: all.clone(),
            controls: all.clone(),
            directory: all.clone(),
            quotas: all.clone(),
            uploads: all.clone(),
            reports: all.clone(),
            identities: all.clone(),
            watches: all.clone(),
            sealer: all,
            signers: Arc::default(),
            pacer: Arc::new(posthaste_pipeline::pacer::LocalPacer::default()),
        }
    }
}

#[async_trait]
impl Intake for Hand {
    async fn accept(&self, submissions: Vec<Acceptance>) -> Result<Vec<Accepted>, StoreError> {
        let mut answers = Vec::new();
        for one in submissions {
            self.edge().await?;
            self.world.kept().spool.insert(one.row.facts.spool.clone(), one.message);
            self.edge().await?;
            let known = self.world.kept().rows.get(&one.row.key).cloned();
            let Some(known) = known else {
                self.world.write(0, one.row);
                self.edge().await?;
                self.effects(one.job.map(Effect::Job).into_iter().collect()).await?;
                answers.push(Accepted::New);
                continue;
            };
            if known.facts.request_hash != one.row.facts.request_hash {
                answers.push(Accepted::Conflict);
                continue;
            }
            if let Some(job) = one.job.filter(|_| known.state.is_open() && known.promise == Promise::Job) {
                let again = Job { seq: known.seq, due: known.due, expires: known.expires, ..job };
                self.effects(vec![Effect::Job(again)]).await?;
            }
            answers.push(Accepted::Same(Box::new(known)));
        }
        Ok(answers)
    }
}

#[async_trait]
impl Spool for Hand {
    async fn open(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.edge().await?;
        Ok(self.world.kept().spool.get(name).cloned())
    }
}

#[async_trait]
impl Ledger for Hand {
    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let rows = {
            let kept = self.world.kept();
            keys.iter().map(|key| kept.rows.get(&key.part).cloned()).collect()
        };
        self.edge().await?;
        Ok(rows)
    }

    async fn apply(&self, steps: Vec<Step>) -> Result<Vec<Applied>, StoreError> {
        let mut applied = Vec::new();
        for step in steps {
            applied.push(self.step(step).await?);
        }
        Ok(applied)
    }

    async fn perform(&self, effects: Vec<Effect>) -> Result<(), StoreError> {
        self.edge().await?;
        self.effects(effects).await
    }

    async fn message(&self, tenant: &Tenant, id: &MessageId) -> Result<Vec<Row>, StoreError> {
        let rows = {
            let kept = self.world.kept();
            kept.rows
                .values()
                .filter(|row| row.key.message == *id && row.tenant == *tenant)
                .cloned()
                .collect()
        };
        self.edge().await?;
        Ok(rows)
    }

    async fn find(&self, _: &Search) -> Result<Found, StoreError> {
        Ok(Found::default())
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut rows: Vec<Row> = {
            let kept = self.world.kept();
            kept.rows.values().filter(|row| row.wake.is_some_and(|wake| wake <= now)).cloned().collect()
        };
        rows.sort_by_key(|row| row.wake);
        rows.truncate(limit);
        self.edge().await?;
        Ok(rows)
    }

    async fn held(&self, hold: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        let held: Vec<Row> = {
            let kept = self.world.kept();
            let under = kept.rows.values().filter(|row| row.hold.as_deref() == Some(hold));
            under.take(limit).cloned().collect()
        };
        self.edge().await?;
        Ok(held)
    }

    async fn waiting(&self, _: Option<&Tenant>) -> Result<Vec<WaitingGroup>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Later for Hand {
    async fn put(&self, jobs: Vec<Job>) -> Result<(), StoreError> {
        self.effects(jobs.into_iter().map(Effect::Job).collect()).await
    }
}

#[async_trait]
impl Suppressions for Hand {
    async fn check(&self, _: &Tenant, addresses: &[Address]) -> Result<Vec<Vec<Suppression>>, StoreError> {
        let found = {
            let kept = self.world.kept();
            let of = |address: &Address| {
                let folded = address.folded();
                let entries = kept.suppressions.iter().filter(|((known, _, _), _)| *known == folded);
                entries.map(|(_, (entry, _))| entry.clone()).collect()
            };
            addresses.iter().map(of).collect()
        };
        self.edge().await?;
        Ok(found)
    }

    async fn put(&self, entry: Suppression) -> Result<(), StoreError> {
        self.effects(vec![Effect::Suppress(entry)]).await
    }

    async fn remove(&self, _: &Tenant, _: &Address) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn clear_sandbox(&self, _: &Tenant) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn list(&self, _: &Tenant, _: Option<&str>, _: usize) -> Result<Vec<Suppression>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Feed for Hand {
    async fn after(&self, _: &Tenant, _: u64, _: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        Ok(Vec::new())
    }

    async fn of_message(&self, _: &Tenant, _: &MessageId) -> Result<Vec<Event>, StoreError> {
        Ok(Vec::new())
    }

    async fn latest(&self, _: &Tenant) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl DeadLetters for Hand {
    async fn list(&self, _: Option<&JobId>, _: usize) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(Vec::new())
    }

    async fn get(&self, _: &JobId) -> Result<Option<DeadLetter>, StoreError> {
        Ok(None)
    }

    async fn remove(&self, _: &JobId) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Nobody asks for a key here.
#[async_trait]
impl Directory for Hand {
    async fn find(&self, _: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        Ok(None)
    }

    async fn put(&self, _: KeyRecord) -> Result<(), StoreError> {
        Ok(())
    }

    async fn list(
        &self,
        _: Option<&Tenant>,
        _: Option<&KeyId>,
        _: usize,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(Vec::new())
    }

    async fn revoke(&self, _: Option<&Tenant>, _: &KeyId) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn remember(&self, _: &Tenant) -> Result<(), StoreError> {
        self.edge().await
    }

    async fn tenant(&self, _: &TenantTag) -> Result<Option<Tenant>, StoreError> {
        Ok(None)
    }
}

/// Nobody has registered a domain here.
#[async_trait]
impl Identities for Hand {
    async fn get(&self, _: &Tenant, _: &Domain) -> Result<Option<Identity>, StoreError> {
        Ok(None)
    }

    async fn put(&self, _: &Identity) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn remove(&self, _: &Tenant, _: &Domain) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn list(&self, _: &Tenant, _: Option<&Domain>, _: usize) -> Result<Vec<Identity>, StoreError> {
        Ok(Vec::new())
    }

    async fn owners(&self, domains: &[Domain]) -> Result<Vec<Option<Tenant>>, StoreError> {
        Ok(vec![None; domains.len()])
    }

    async fn claim(&self, _: &Domain, _: &Tenant, _: Option<&Tenant>) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[async_trait]
impl Watches for Hand {
    async fn proved(
        &self,
        _: Option<&Domain>,
        _: usize,
    ) -> Result<Vec<(Domain, Option<Tenant>)>, StoreError> {
        Ok(Vec::new())
    }

    async fn watched(&self, _: &Tenant, domains: &[Domain]) -> Result<Vec<Option<Watched>>, StoreError> {
        Ok(vec![None; domains.len()])
    }

    async fn keep(&self, _: &Watched) -> Result<(), StoreError> {
        Ok(())
    }

    async fn report(&self, _: &DomainReport) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn reports(
        &self,
        _: &Tenant,
        _: &Domain,
        _: Timestamp,
        _: usize,
    ) -> Result<Vec<DomainReport>, StoreError> {
        Ok(Vec::new())
    }
}

/// Nothing is sealed here.
#[async_trait]
impl Sealer for Hand {
    async fn seal(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(Vec::new())
    }

    async fn open(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(Vec::new())
    }
}

/// Nothing is reported here.
#[async_trait]
impl Reports for Hand {
    async fn keep(&self, _: &KeptReport) -> Result<(), StoreError> {
        Ok(())
    }

    async fn list(&self, _: Option<&str>, _: usize) -> Result<Vec<KeptReport>, StoreError> {
        Ok(Vec::new())
    }
}

/// Everybody may send as much as they like.
#[async_trait]
impl Quotas for Hand {
    async fn take(&self, _: &Tenant, _: u64, _: Timestamp, _: &QuotaLimits) -> Result<Taken, StoreError> {
        Ok(Taken::Granted)
    }
}

/// Nothing is uploaded.
#[async_trait]
impl Uploads for Hand {
    async fn offer(&self, _: &UploadOffer) -> Result<UploadWay, StoreError> {
        Ok(UploadWay::Here)
    }

    async fn size(&self, _: &Tenant, _: &UploadId) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn open(&self, _: &Tenant, _: &UploadId) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl Controls for Hand {
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        let holds = self.world.kept().holds.clone();
        self.edge().await?;
        Ok(holds)
    }

    async fn put_hold(&self, hold: Hold) -> Result<(), StoreError> {
        self.world.kept().holds.push(hold);
        Ok(())
    }

    /// Takes the hold away and sends the jobs of what it parked; a release that fails is asked for again.
    async fn remove_hold(&self, id: &str) -> Result<Option<Hold>, StoreError> {
        let hold = {
            let mut kept = self.world.kept();
            let at = kept.holds.iter().position(|hold| hold.id == id);
            at.map(|at| kept.holds.remove(at))
        };
        tokio::time::sleep(self.world.dice.millis(1, 50)).await;
        let parked: Vec<Row> = {
            let kept = self.world.kept();
            let is_parked = |row: &&Row| row.hold.as_deref() == Some(id) && row.state == State::Waiting;
            kept.rows.values().filter(is_parked).cloned().collect()
        };
        for row in parked {
            let id = JobId::from_random(posthaste_pipeline::ambient::Chance::octets(&self.world.dice));
            let due = self.world.now().plus(std::time::Duration::from_secs(2));
            self.world.put(Job { due, ..row.job(id) });
        }
        Ok(hold)
    }

    async fn secret(&self, _: &str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        Ok(fresh)
    }
}
