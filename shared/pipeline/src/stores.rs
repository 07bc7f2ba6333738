//! What the pipeline needs of a store, as small as it needs it. A store knows no delivery: it keeps rows under
//! their versions, does effects in order, and finds rows again. What may happen to a row is decided in
//! [`crate::machine`], once, for every store.
//!
//! The step is the unit, so that SQLite can make it one transaction and AWS an ordered sequence that may stop
//! after any of its writes: the row first, then each effect. Whoever drives a step does it again until it is whole.

mod hold;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_mail::{Address, Domain, JobId, KeyId, MessageId, Tenant, Timestamp, UploadId};
use posthaste_policy::QuotaLimits;
use serde::Serialize;

use crate::access::{KeyRecord, Taken};
use crate::deliver::return_path::TenantTag;
use crate::effect::{DeadLetter, Effect, Event, Step, Suppression};
use crate::feedback::Reports;
use crate::identity::{Identities, Sealer, Signers, Watches};
use crate::pacer::Pacer;
use crate::row::{Job, Realm, Row, RowKey};
use crate::upload::{UploadOffer, UploadReceived, UploadWay};

pub use hold::{Hold, HoldAction, HoldOn, Sweep};

/// Why a store did not do what it was asked. Never the fault of what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It is down, slow, full or throttling: the same again may work later.
    #[error("the store cannot do it now: {0}")]
    Unavailable(String),
    /// What it holds cannot be read: trying again does not help.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
}

/// What became of one step.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// The row was written and its effects were done.
    Yes,
    /// The row had another version (or was there, or was gone): nothing was done. Read and decide again.
    Stale,
}

/// One submission on its way in.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// The head, or the only part; version 1.
    pub row: Row,
    /// The message: `row.facts.spool` names it.
    pub message: Bytes,
    /// Its one job, unless it is parked.
    pub job: Option<Job>,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// Spool, row and job are durable.
    New,
    /// The same request came before: its row. Its job has been sent again if it is open.
    Same(Box<Row>),
    /// Another request came before under this key.
    Conflict,
}

/// Takes submissions in.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Writes spool, row and job of each, in this order, and returns when all are durable; one answer each, in order.
    async fn accept(&self, submissions: Vec<Acceptance>) -> Result<Vec<Accepted>, StoreError>;
}

/// Reads messages back.
#[async_trait]
pub trait Spool: Send + Sync {
    /// The whole message; none when it is past its retention.
    async fn open(&self, name: &str) -> Result<Option<Bytes>, StoreError>;
}

/// Keeps rows.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Rows as they are now (consistent), in the order asked for.
    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError>;

    /// Does each step on its own: the row if it still has the expected version, then its effects in order.
    /// One answer each, in order. After an error any prefix of any step may have been done.
    async fn apply(&self, steps: Vec<Step>) -> Result<Vec<Applied>, StoreError>;

    /// Does effects again.
    async fn perform(&self, effects: Vec<Effect>) -> Result<(), StoreError>;

    /// All rows of a message, part 0 first; empty when there is none or it is another tenant's.
    async fn message(&self, tenant: &Tenant, id: &MessageId) -> Result<Vec<Row>, StoreError>;

    /// Ids of accepted messages, newest first.
    async fn find(&self, search: &Search) -> Result<Found, StoreError>;

    /// Rows whose wake has come, whatever their state, longest overdue first, at most `limit`.
    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Rows that are parked under a hold, at most `limit`, in any order.
    async fn held(&self, hold: &str, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// What waits, by domain and site; open and sending rows.
    async fn waiting(&self, tenant: Option<&Tenant>) -> Result<Vec<WaitingGroup>, StoreError>;
}

/// What to look for.
#[derive(Debug, Clone)]
pub struct Search {
    /// Whose messages.
    pub tenant: Tenant,
    /// By what.
    pub by: SearchBy,
    /// Where the page before ended.
    pub after: Option<String>,
    /// At most this many.
    pub limit: usize,
}

/// By what messages are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchBy {
    /// Every message.
    All,
    /// One of its recipients, as [`Address::folded`].
    Recipient(String),
    /// One of its tags.
    Tag {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
}

/// One page of ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Newest first.
    pub ids: Vec<MessageId>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// What waits for one domain at one site.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaitingGroup {
    /// The domain; none for submissions not yet split.
    pub domain: Option<Domain>,
    /// The site of the latest attempt, if there was one.
    pub site: Option<String>,
    /// Rows.
    pub count: u64,
    /// Of these, being sent now.
    pub sending: u64,
    /// When the oldest was accepted.
    pub oldest: Timestamp,
    /// When the next is due.
    pub next_due: Timestamp,
    /// When the first of them expires.
    pub first_expiry: Timestamp,
    /// The row that is due next, to say why it waits.
    pub sample: RowKey,
}

/// Sends jobs later.
#[async_trait]
pub trait Later: Send + Sync {
    /// Puts each job so that it comes back at its `due`, at the latest a moment after.
    async fn put(&self, jobs: Vec<Job>) -> Result<(), StoreError>;
}

/// The suppression list.
#[async_trait]
pub trait Suppressions: Send + Sync {
    /// The entries for each address, consistent, in order: none, or all there are of one mailbox (at most one a
    /// lane and realm). Whether one applies is the caller's to say.
    async fn check(
        &self,
        tenant: &Tenant,
        addresses: &[Address],
    ) -> Result<Vec<Vec<Suppression>>, StoreError>;
    /// Puts an entry in the place of one for the same mailbox, lane and realm.
    async fn put(&self, entry: Suppression) -> Result<(), StoreError>;
    /// Removes every entry of a mailbox; says how many there were.
    async fn remove(&self, tenant: &Tenant, address: &Address) -> Result<u64, StoreError>;
    /// Removes every entry of the sandbox.
    async fn clear_sandbox(&self, tenant: &Tenant) -> Result<u64, StoreError>;
    /// A page in the order of addresses, after a folded address.
    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Suppression>, StoreError>;
}

/// The feed of events, replayable for as long as the store keeps them.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Events after a cursor in the order they were written, each with its cursor.
    async fn after(
        &self,
        tenant: &Tenant,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Event)>, StoreError>;
    /// Events of one message.
    async fn of_message(&self, tenant: &Tenant, id: &MessageId) -> Result<Vec<Event>, StoreError>;
    /// The latest cursor.
    async fn latest(&self, tenant: &Tenant) -> Result<u64, StoreError>;
}

/// Jobs that were put aside.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// A page, oldest first.
    async fn list(&self, after: Option<&JobId>, limit: usize) -> Result<Vec<DeadLetter>, StoreError>;
    /// One that is on the list.
    async fn get(&self, id: &JobId) -> Result<Option<DeadLetter>, StoreError>;
    /// Takes one off the list.
    async fn remove(&self, id: &JobId) -> Result<(), StoreError>;
}

/// API keys, hashed, and tenants by their tags. There are few; whoever asks often keeps what it learnt for a while ([`crate::access::Keyring`]).
#[async_trait]
pub trait Directory: Send + Sync {
    /// The key of this id, as it is now (consistent); none if there never was one or it is revoked.
    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError>;
    /// Puts a key; the same again is one key.
    async fn put(&self, key: KeyRecord) -> Result<(), StoreError>;
    /// A page in the order of ids, after an id; of one tenant, or of all tenants and the operators.
    async fn list(
        &self,
        of: Option<&Tenant>,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, StoreError>;
    /// Removes a key for good, if it is one of this tenant (none: whosever it is); says whether it was there.
    async fn revoke(&self, of: Option<&Tenant>, id: &KeyId) -> Result<bool, StoreError>;
    /// Remembers a tenant for ever under its tag, before the first token with it leaves.
    async fn remember(&self, tenant: &Tenant) -> Result<(), StoreError>;
    /// The tenant of a tag; none that was ever remembered.
    async fn tenant(&self, tag: &TenantTag) -> Result<Option<Tenant>, StoreError>;
}

/// Counts what tenants submit.
#[async_trait]
pub trait Quotas: Send + Sync {
    /// Grants so many recipients whole or not at all, in one atomic write: as
    /// [`posthaste_policy::quota::Counted::grant`] says. What is granted is never more than the limits, however many
    /// ask at once; an answer that is lost stays counted.
    async fn take(
        &self,
        tenant: &Tenant,
        recipients: u64,
        now: Timestamp,
        limits: &QuotaLimits,
    ) -> Result<Taken, StoreError>;
}

/// Large bodies that come in apart from the request that submits them. Each is written once, belongs to a tenant, and
/// is kept for [`crate::upload::KEPT_FOR`], whether it is submitted or not.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// Says where a body may be put until the offer closes.
    async fn offer(&self, offer: &UploadOffer) -> Result<UploadWay, StoreError>;
    /// For bodies that come to us ([`UploadWay::Here`]): how many octets are expected; none where the id and the token
    /// do not belong together, or the offer is closed. Elsewhere there are no such bodies.
    async fn expected(
        &self,
        _id: &UploadId,
        _token: &str,
        _now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }
    /// Takes such a body in, once.
    async fn receive(
        &self,
        _id: &UploadId,
        _token: &str,
        _now: Timestamp,
        _body: Bytes,
    ) -> Result<UploadReceived, StoreError> {
        Ok(UploadReceived::Unknown)
    }
    /// Octets of a body that is there; none if it is not, or is another tenant's.
    async fn size(&self, tenant: &Tenant, id: &UploadId) -> Result<Option<u64>, StoreError>;
    /// The whole body; none as for [`Uploads::size`].
    async fn open(&self, tenant: &Tenant, id: &UploadId) -> Result<Option<Bytes>, StoreError>;
}

/// Holds and secrets: what is read often, changes rarely, and must be seen soon.
#[async_trait]
pub trait Controls: Send + Sync {
    /// Every hold there is.
    async fn holds(&self) -> Result<Vec<Hold>, StoreError>;
    /// Puts or replaces a hold.
    async fn put_hold(&self, hold: Hold) -> Result<(), StoreError>;
    /// Takes a hold away; says whether it was there.
    async fn remove_hold(&self, id: &str) -> Result<Option<Hold>, StoreError>;
    /// A secret of this installation, made from `fresh` when it is asked for the first time.
    async fn secret(&self, name: &str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError>;
}

/// Everything a store gives, as the use cases take it.
#[derive(Clone)]
pub struct Stores {
    /// Takes submissions in.
    pub intake: Arc<dyn Intake>,
    /// Reads messages back.
    pub spool: Arc<dyn Spool>,
    /// Keeps rows.
    pub ledger: Arc<dyn Ledger>,
    /// Sends jobs later.
    pub later: Arc<dyn Later>,
    /// The suppression list.
    pub suppressions: Arc<dyn Suppressions>,
    /// The feed of events.
    pub feed: Arc<dyn Feed>,
    /// Jobs that were put aside.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Holds and secrets.
    pub controls: Arc<dyn Controls>,
    /// API keys.
    pub directory: Arc<dyn Directory>,
    /// What tenants have submitted.
    pub quotas: Arc<dyn Quotas>,
    /// Large bodies on their way in.
    pub uploads: Arc<dyn Uploads>,
    /// What is agreed on across everybody who delivers.
    pub pacer: Arc<dyn Pacer>,
    /// Reports that changed nothing.
    pub reports: Arc<dyn Reports>,
    /// Sender domains.
    pub identities: Arc<dyn Identities>,
    /// How they fare.
    pub watches: Arc<dyn Watches>,
    /// Seals their keys.
    pub sealer: Arc<dyn Sealer>,
    /// What is known of them in this process.
    pub signers: Arc<Signers>,
}

/// The realm whose suppressions a message obeys: the sandbox obeys both lists, so that one can be tried there.
pub fn obeys(message: Realm, entry: Realm) -> bool {
    message == entry || message == Realm::Sandbox
}
