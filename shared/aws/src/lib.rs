//! The pipeline's stores on S3, SQS, DynamoDB and EventBridge.
//!
//! What is absent: no decision about delivery (a row is written if its version is the expected one, and that is all),
//! no transaction (each write stands alone, and whoever drives a step does it again until it is whole), no scan of the
//! table, no key without a tenant but those of the installation itself.
//!
//! - Keys, indexes and shapes of items stand in one place: the module [`schema`].
//! - Every answer may be a throttle, a time-out or half a batch. The SDK tries single calls again with jitter, what a
//!   batch left over is sent again here (module `patience`), and what still fails is [`StoreError::Unavailable`].
//! - A write whose answer was lost is recognised: where a condition fails because what stands there is what was to be
//!   written, it was written.
//! - What is paid for by the request goes in batches: jobs in tens, reads in hundreds, the messages of one request as
//!   one object.

mod bus;
pub mod calls;
mod clients;
mod controls;
pub mod counts;
mod dead_letters;
mod directory;
mod document;
pub mod emf;
mod feed;
mod find;
mod follow;
mod identities;
mod intake;
mod item;
mod ledger;
mod names;
mod pacer;
mod patience;
mod provision;
mod queue;
mod quotas;
mod reports;
mod rows;
mod sandboxed;
pub mod schema;
mod spool;
mod suppressions;
mod table;
mod ticker;
pub mod units;
mod uploads;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::identity::Signers;
use posthaste_pipeline::stores::{StoreError, Stores};

pub use clients::Clients;
pub use names::{Missing, Names, Told};
pub use provision::ProvisionError;
pub use queue::Received;

/// How a store behaves beside what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Readers of the feed are shown nothing younger: clocks differ, and the index follows the table.
    pub feed_settles_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { feed_settles_within: Duration::from_secs(2) }
    }
}

/// A handle to the stores; cheap to clone.
#[derive(Clone)]
pub struct Aws(Arc<Inner>);

struct Inner {
    clients: Clients,
    names: Names,
    options: Options,
    ambient: Ambient,
    ticker: ticker::Ticker,
    seen: pacer::Seen,
    signers: Arc<Signers>,
}

impl Aws {
    /// Over these clients. Nothing is asked of AWS yet. Time and jitter are the ambient's, and so is the policy whose
    /// retention says how long items stay.
    pub fn new(clients: Clients, names: Names, ambient: Ambient, options: Options) -> Self {
        Self(Arc::new(Inner {
            clients,
            names,
            options,
            ambient,
            ticker: ticker::Ticker::default(),
            seen: pacer::Seen::default(),
            signers: Arc::default(),
        }))
    }

    /// The stores as the use cases take them.
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
            pacer: all.clone(),
            reports: all.clone(),
            identities: all.clone(),
            watches: all.clone(),
            sealer: all,
            signers: self.0.signers.clone(),
        }
    }

    /// What everything is called.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// The clients themselves, for what is beside the stores: the policy's object, uploads, the intake queue.
    pub fn clients(&self) -> &Clients {
        &self.0.clients
    }

    pub(crate) fn ambient(&self) -> &Ambient {
        &self.0.ambient
    }

    pub(crate) fn seen(&self) -> &pacer::Seen {
        &self.0.seen
    }

    pub(crate) fn table(&self) -> table::Table<'_> {
        table::Table { client: &self.0.clients.dynamodb, name: &self.0.names.table, ambient: &self.0.ambient }
    }

    /// A number that is larger than any given out here before: microseconds, by the clock.
    pub(crate) fn tick(&self) -> u64 {
        self.0.ticker.next(self.0.ambient.now())
    }
}

/// An error of the SDK with everything it knows: the same again may work later.
pub(crate) fn unavailable<E, R>(
    doing: &str,
    error: aws_smithy_runtime_api::client::result::SdkError<E, R>,
) -> StoreError
where
    aws_smithy_runtime_api::client::result::SdkError<E, R>: std::error::Error,
{
    StoreError::Unavailable(format!(
        "{doing}: {}",
        aws_smithy_types::error::display::DisplayErrorContext(error)
    ))
}
