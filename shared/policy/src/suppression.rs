//! Whether a recipient is suppressed, and for how long. Only what the verdict's table says suppresses; what is known of
//! the recipient shortens it, or makes a full mailbox count.

use std::time::Duration;

use crate::span::DAY;
use crate::verdict::{Category, SUPPRESS_DOMAIN, SUPPRESS_MAILBOX, Suppress, Verdict};

/// `[suppression]`: how long each kind lasts. Complaints and unsubscribes have no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuppressionPolicy {
    /// No such mailbox.
    pub bad_mailbox: Duration,
    /// The same, where mail was delivered to it within `known_within`.
    pub bad_mailbox_known: Duration,
    /// How recent a delivery makes a mailbox known.
    pub known_within: Duration,
    /// No such domain, or a null MX.
    pub bad_domain: Duration,
    /// Mailbox closed.
    pub inactive: Duration,
    /// Mailbox full for good, at the third time within `mailbox_full_within`.
    pub mailbox_full: Duration,
    /// See `mailbox_full`.
    pub mailbox_full_within: Duration,
}

impl Default for SuppressionPolicy {
    fn default() -> Self {
        Self {
            bad_mailbox: SUPPRESS_MAILBOX,
            bad_mailbox_known: SUPPRESS_DOMAIN,
            known_within: DAY * 90,
            bad_domain: SUPPRESS_DOMAIN,
            inactive: SUPPRESS_MAILBOX,
            mailbox_full: SUPPRESS_DOMAIN,
            mailbox_full_within: DAY * 14,
        }
    }
}

/// Refusals of a full mailbox, the present one included, after which it is suppressed.
pub const MAILBOX_FULL_TIMES: u32 = 3;

/// What is known of a recipient at the moment of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// How long ago something was last delivered to it, if ever.
    pub delivered_ago: Option<Duration>,
    /// Times its mailbox was full for good within `mailbox_full_within`, the present one included.
    pub full_times: u32,
}

impl SuppressionPolicy {
    /// How long a recipient with this history is suppressed after a verdict; none if it is not. A verdict that
    /// suppresses for less than the table does, since its wording is only mostly sure, stays as short.
    pub fn length(&self, verdict: &Verdict, history: &History) -> Option<Duration> {
        let known = history.delivered_ago.is_some_and(|ago| ago <= self.known_within);
        match (verdict.category, verdict.suppress) {
            (Category::BadMailbox, Suppress::For(said)) => {
                let usual = if known { self.bad_mailbox_known } else { self.bad_mailbox };
                Some(if said < SUPPRESS_MAILBOX { said.min(usual) } else { usual })
            }
            (Category::BadDomain, Suppress::For(_)) => Some(self.bad_domain),
            (Category::Inactive, Suppress::For(_)) => Some(self.inactive),
            (_, Suppress::For(said)) => Some(said),
            (Category::MailboxFull, Suppress::No)
                if verdict.action == crate::Action::Bounce && history.full_times >= MAILBOX_FULL_TIMES =>
            {
                Some(self.mailbox_full)
            }
            (_, Suppress::No) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Class, RuleName};

    #[test]
    fn history_shortens_or_completes_a_suppression() {
        let check =
            |category: Category, class: Class, said: Option<u32>, history: History, expected: Option<u32>| {
                let mut verdict = Verdict::by_table(category, class, None, &RuleName::new("test"));
                if let Some(days) = said {
                    verdict.suppress = Suppress::For(DAY * days);
                }
                let got = SuppressionPolicy::default().length(&verdict, &history);
                assert_eq!(got, expected.map(|days| DAY * days), "{category} {history:?}");
            };
        let new = History::default();
        let known = History { delivered_ago: Some(DAY * 3), ..new };
        let forgotten = History { delivered_ago: Some(DAY * 91), ..new };
        let full = |full_times| History { full_times, ..new };
        check(Category::BadMailbox, Class::Permanent, None, new, Some(90));
        check(Category::BadMailbox, Class::Permanent, None, known, Some(7));
        check(Category::BadMailbox, Class::Permanent, None, forgotten, Some(90));
        check(Category::BadMailbox, Class::Permanent, Some(7), new, Some(7));
        check(Category::BadMailbox, Class::Transient, None, new, None);
        check(Category::BadDomain, Class::Permanent, None, known, Some(7));
        check(Category::Inactive, Class::Permanent, None, new, Some(90));
        check(Category::MailboxFull, Class::Permanent, None, full(2), None);
        check(Category::MailboxFull, Class::Permanent, None, full(3), Some(7));
        check(Category::MailboxFull, Class::Transient, None, full(9), None);
        check(Category::Blocked, Class::Permanent, None, new, None);
        check(Category::Other, Class::Permanent, None, new, None);
    }
}
