//! What changed, and which reply made it so: events, and what `site show` tells.

use posthaste_mail::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CHANGES_KEPT, Standing};

/// Letters of a reply that are kept.
const REPLY_MAX: usize = 160;

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: ChangeKind,
    /// In a sentence, numbers and all: `rate 20/s → 10/s`.
    pub what: String,
    /// The reply that caused it, shortened and without addresses of people; none where an operator or time did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The rule of the reaction: `built-in rate-limited`, `reaction[2]`, `operator`.
    pub by: String,
}

/// Which way it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is given less: tells `site.slowed`.
    Slowed,
    /// It is given nothing for a while: tells `site.slowed`.
    Suspended,
    /// It is given nothing but a probe until one is taken: tells `site.slowed`, and somebody should look.
    Shut,
    /// It is given as much as ever again, or is open again: tells `site.recovered`.
    Recovered,
    /// It is given a step more, or something was learnt: told to nobody.
    Adjusted,
}

impl Standing {
    /// Remembers a change, letting go of the oldest.
    pub(super) fn note(&mut self, change: Change) {
        self.changes.push(change);
        let over = self.changes.len().saturating_sub(CHANGES_KEPT);
        self.changes.drain(..over);
    }
}

/// A reply as it may be shown to whoever runs the site: words with an address in them are left out.
pub(super) fn shown(text: &str) -> String {
    let words = text.split_whitespace().map(|word| if word.contains('@') { "…@…" } else { word });
    let mut shown = String::new();
    for word in words {
        if shown.chars().count() + word.chars().count() >= REPLY_MAX {
            shown.push('…');
            break;
        }
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(word);
    }
    shown
}
