//! What is agreed on across everybody who delivers: connections, rates, lines and standings. The arithmetic is
//! policy's; a store keeps its values and changes them one at a time.

mod local;

use async_trait::async_trait;
use posthaste_mail::{Domain, Lane, Tenant, Timestamp};
use posthaste_policy::SiteName;
use posthaste_policy::file::EgressName;
use posthaste_policy::pacing::Micros;
use posthaste_policy::pacing::book::{TokenAsk, Tokens};
use posthaste_policy::pacing::line::Line;
use posthaste_policy::pacing::seats::{Seat, SeatAsk};
use posthaste_policy::standing::Standing;
use posthaste_policy::standing::breaker::{Health, Tally};
use serde::{Deserialize, Serialize};

use crate::stores::StoreError;

pub use local::LocalPacer;

/// What limits count for: one egress at one site, and there all mail or that of one sending domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PaceKey {
    /// The address we leave from.
    pub egress: EgressName,
    /// The receiver.
    pub site: SiteName,
    /// The sending domain, where it is counted apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Domain>,
}

/// One line of those who wait.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LineKey {
    /// At which receiver.
    pub key: PaceKey,
    /// Its lane.
    pub lane: Lane,
    /// Whose mail.
    pub tenant: Tenant,
}

/// How things stand at one receiver; at most a moment old.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// What it is given, and why.
    pub standing: Standing,
    /// Up to when its time is handed out.
    pub tat: Option<Micros>,
    /// Connections held.
    pub seats: u32,
    /// The lines in which somebody waits.
    pub lines: Vec<(Lane, Tenant, Line)>,
}

/// Lines of one receiver that are looked at: past it shares are estimated from these.
pub const LINES_MAX: usize = 500;

/// See the module. Every answer may be lost: what was asked may have been done all the same, and asking again then
/// wastes a little, but never gives too much.
#[async_trait]
pub trait Pacer: Send + Sync {
    /// How things stand; what was written a second ago is seen.
    async fn view(&self, key: &PaceKey) -> Result<View, StoreError>;

    /// Writes a standing in the place of the one whose epoch is one less; false where that is not the one that is
    /// there. Tokens asked under an older one are refused from then on.
    async fn stand(&self, key: &PaceKey, standing: &Standing) -> Result<bool, StoreError>;

    /// Standings that differ from the policy's beginning, at most `limit`, in the order of keys after `after`.
    async fn standings(
        &self,
        after: Option<&PaceKey>,
        limit: usize,
    ) -> Result<Vec<(PaceKey, Standing)>, StoreError>;

    /// Counts what a receiver said of mailboxes; how they fare there now. An answer that is lost may count twice.
    async fn tally(&self, key: &PaceKey, tally: Tally, at: Timestamp) -> Result<Health, StoreError>;

    /// Takes connections, or keeps them: as `Book::sit` says.
    async fn sit(&self, key: &PaceKey, ask: &SeatAsk) -> Result<Seat, StoreError>;

    /// Gives connections back; one that is not held is no error.
    async fn rise(&self, key: &PaceKey, who: &[String]) -> Result<(), StoreError>;

    /// Takes tokens: as `Book::tokens` says.
    async fn tokens(&self, key: &PaceKey, ask: &TokenAsk) -> Result<Tokens, StoreError>;

    /// The next `places` in a line; the ticket is the first of them.
    async fn ticket(&self, line: &LineKey, places: u64, now: Micros) -> Result<u64, StoreError>;

    /// So many places have been served, or given up.
    async fn served(&self, line: &LineKey, places: u64, now: Micros) -> Result<(), StoreError>;

    /// Forgets those who wait in a line: all places that were handed out count as served.
    async fn forget(&self, line: &LineKey, seen: &Line, now: Micros) -> Result<(), StoreError>;
}
