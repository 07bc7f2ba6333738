//! Lanes: which line a message stands in. A one-time password never waits behind a campaign.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The lane a submission asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Receipts, passwords, notices: one person waits for one message.
    #[default]
    Transactional,
    /// Campaigns and digests: many at once, minutes do not matter.
    Bulk,
}

impl Lane {
    /// Both lanes, the urgent one first.
    pub const ALL: [Lane; 2] = [Lane::Transactional, Lane::Bulk];

    /// The name used in the API, the policy file and queue names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Bulk => "bulk",
        }
    }

    /// Reads a lane's name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == text)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
