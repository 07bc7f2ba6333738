//! What everything is called in one deployment, as the template writes it into the environment.

use posthaste_pipeline::row::Queue;

/// Names and addresses of a deployment's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The table.
    pub table: String,
    /// The bucket.
    pub bucket: String,
    /// Queues of jobs, by URL.
    pub transactional: String,
    /// See `transactional`.
    pub bulk: String,
    /// The queue of sites known to be slow.
    pub slow: String,
    /// Where SQS puts what was received too often, by lane: transactional, bulk, slow.
    pub dead: [String; 3],
    /// The bus for events; none: events are kept in the feed only.
    pub bus: Option<String>,
    /// The key of KMS that seals private keys; none: a secret of the table does.
    pub key: Option<String>,
    /// Whether deliveries are told on the bus, too: the commonest event, and a dollar a million.
    pub delivered: Told,
}

/// Whether something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is.
    Yes,
    /// It is only kept.
    No,
}

/// A variable of the environment that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment lacks {0}: template.yaml sets it")]
pub struct Missing(pub &'static str);

impl Names {
    /// Reads them with a look-up of variables, as `std::env::var` is.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Missing> {
        let optional = |name: &str| variable(name).filter(|value| !value.is_empty());
        let needed = |name: &'static str| optional(name).ok_or(Missing(name));
        Ok(Self {
            table: needed("POSTHASTE_TABLE")?,
            bucket: needed("POSTHASTE_BUCKET")?,
            transactional: needed("POSTHASTE_QUEUE_TRANSACTIONAL")?,
            bulk: needed("POSTHASTE_QUEUE_BULK")?,
            slow: needed("POSTHASTE_QUEUE_SLOW")?,
            dead: [
                needed("POSTHASTE_DEAD_TRANSACTIONAL")?,
                needed("POSTHASTE_DEAD_BULK")?,
                needed("POSTHASTE_DEAD_SLOW")?,
            ],
            bus: optional("POSTHASTE_BUS"),
            key: optional("POSTHASTE_KMS_KEY"),
            delivered: match optional("POSTHASTE_EVENTS_DELIVERED").as_deref() {
                Some("true") => Told::Yes,
                _ => Told::No,
            },
        })
    }

    /// Of one who needs the table and nothing else.
    pub fn of_table(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            bucket: String::new(),
            transactional: String::new(),
            bulk: String::new(),
            slow: String::new(),
            dead: Default::default(),
            bus: None,
            key: None,
            delivered: Told::No,
        }
    }

    /// The URL of a queue.
    pub fn queue(&self, queue: Queue) -> &str {
        match queue {
            Queue::Transactional => &self.transactional,
            Queue::Bulk => &self.bulk,
            Queue::Slow => &self.slow,
        }
    }
}
