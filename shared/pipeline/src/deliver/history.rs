//! What a mailbox has been before: a bad-mailbox verdict weighs less for one that took mail lately, and a mailbox
//! that is full for good counts only the third time. Asked only when somebody bounces.

use posthaste_policy::suppression::History;
use posthaste_policy::{Action, Category, Suppress};

use super::Inner;
use crate::ambient::Ambient;
use crate::machine::Told;
use crate::row::{Attempt, End, Outcome, Recipient, Row};
use crate::stores::{Search, SearchBy, StoreError, Stores};

/// Messages looked back at for one recipient: what happened before the latest twenty does not weigh any more.
const LOOK_BACK: usize = 20;

impl Inner {
    /// See [`weigh`].
    pub(super) async fn weigh(&self, row: &Row, told: &mut [Told]) -> u64 {
        weigh(&self.ambient, &self.stores, row, told).await
    }
}

/// Sets how long each bounced recipient is suppressed, by the policy and its history. How many mailboxes that are said
/// not to be there took mail lately.
pub(crate) async fn weigh(ambient: &Ambient, stores: &Stores, row: &Row, told: &mut [Told]) -> u64 {
    let policy = ambient.policy.get();
    let mut known = 0;
    for told in told.iter_mut().filter(|told| depends_on_history(told)) {
        let Some(recipient) = row.recipients.get(told.recipient) else { continue };
        match history(ambient, stores, row, recipient).await {
            Ok(mut history) => {
                history.full_times += u32::from(told.verdict.category == Category::MailboxFull);
                let within = policy.suppression.known_within;
                known += u64::from(
                    told.verdict.category == Category::BadMailbox
                        && history.delivered_ago.is_some_and(|ago| ago <= within),
                );
                let length = policy.suppression.length(&told.verdict, &history);
                told.verdict.suppress = length.map_or(Suppress::No, Suppress::For);
            }
            // The verdict's own length stands: it is that of a mailbox nobody knows.
            Err(error) => tracing::warn!(%error, "a recipient's history could not be read"),
        }
    }
    known
}

async fn history(
    ambient: &Ambient,
    stores: &Stores,
    row: &Row,
    recipient: &Recipient,
) -> Result<History, StoreError> {
    let now = ambient.now();
    let full_since = now.minus(ambient.policy.get().suppression.mailbox_full_within);
    let folded = recipient.address.folded();
    let search = Search {
        tenant: row.tenant.clone(),
        by: SearchBy::Recipient(folded.clone()),
        after: None,
        limit: LOOK_BACK,
    };
    let found = stores.ledger.find(&search).await?;
    let mut history = History::default();
    for id in found.ids.iter().filter(|id| **id != row.key.message) {
        let rows = stores.ledger.message(&row.tenant, id).await?;
        let same_realm = rows.iter().filter(|other| other.facts.realm == row.facts.realm);
        for other in same_realm.flat_map(|other| &other.recipients).filter(|r| r.address.folded() == folded) {
            if let Outcome::Final { end: End::Delivered, at, .. } = &other.outcome {
                let ago = now.since(*at);
                history.delivered_ago = Some(history.delivered_ago.map_or(ago, |known| known.min(ago)));
            }
            let full = |a: &&Attempt| {
                a.verdict.category == Category::MailboxFull
                    && a.verdict.action == Action::Bounce
                    && a.at >= full_since
            };
            history.full_times += u32::from(other.attempts.iter().any(|a| full(&a)));
        }
    }
    Ok(history)
}

fn depends_on_history(told: &Told) -> bool {
    told.verdict.action == Action::Bounce
        && (told.verdict.suppress != Suppress::No || told.verdict.category == Category::MailboxFull)
}
