//! How mailboxes fare at each receiver: one item, written under its version.

use std::time::Duration;

use posthaste_mail::Timestamp;
use posthaste_pipeline::pacer::PaceKey;
use posthaste_pipeline::stores::StoreError;
use posthaste_policy::standing::breaker::{Health, Tally};

use crate::item::{self, Key};
use crate::table::{Consistency, If, Put};
use crate::{Aws, document, schema};

/// A receiver that nothing was sent to for so long has no usual share any more.
const KEPT_FOR: Duration = Duration::from_secs(90 * 86_400);
/// Tries to write what others write too: each loss means that somebody else has counted.
const CONTENTION_MAX: usize = 8;

impl Aws {
    pub(super) async fn count_mailboxes(
        &self,
        key: &PaceKey,
        tally: Tally,
        at: Timestamp,
    ) -> Result<Health, StoreError> {
        let key = Key::new(schema::HEALTHS, schema::site(key)?);
        for _ in 0..CONTENTION_MAX {
            let found = self.table().get(&key, Consistency::Strong).await?;
            let mut health: Health = match &found {
                Some(found) => document::read("a receiver's health", item::blob(found, schema::DOC)?)?,
                None => Health::default(),
            };
            let condition = if found.is_some() { If::Version(health.version) } else { If::Absent };
            health.count(tally, at);
            let mut item = key.item();
            item.extend([
                item::number(schema::VERSION, health.version),
                item::octets(schema::DOC, document::write(&health)?),
                item::gone_at(at.plus(KEPT_FOR)),
            ]);
            match self.table().put(item, condition).await? {
                Put::Instead(_) => {}
                _ => return Ok(health),
            }
        }
        Err(StoreError::Unavailable("others keep counting the mailboxes of a receiver".to_owned()))
    }
}
