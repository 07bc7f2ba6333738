//! Lines of those who wait for one receiver, one a lane and tenant. Who is refused takes a ticket, which is a place in
//! line and no promise of a time: how long a place waits is worked out anew from the present rate each time it is
//! asked, so that a rate that changes changes every wait.

use std::time::Duration;

use posthaste_mail::Lane;
use serde::{Deserialize, Serialize};

use super::Micros;

/// A line: places are recipients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Places handed out.
    pub tail: u64,
    /// Places served, or given up.
    pub served: u64,
    /// When either last moved.
    pub moved: Micros,
}

/// Longest wait a line is said to have: beyond it the estimate means nothing.
pub const LINE_WAIT_MAX: Duration = Duration::from_secs(7 * 86_400);
/// A line that has not moved for so long while its receiver took nothing from anybody has no one in it: its places
/// were cancelled.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Weight of a transactional line beside a bulk one: an urgent line is nearly alone, and the other never starves.
pub const WEIGHT_TRANSACTIONAL: u64 = 16;
/// See [`WEIGHT_TRANSACTIONAL`].
pub const WEIGHT_BULK: u64 = 1;

impl Line {
    /// Places not served yet.
    pub fn waiting(&self) -> u64 {
        self.tail.saturating_sub(self.served)
    }

    /// Hands out the next `places`; the ticket is the first of them.
    pub fn ticket(&mut self, places: u64, now: Micros) -> u64 {
        let ticket = self.tail;
        self.tail = self.tail.saturating_add(places);
        self.moved = now;
        ticket
    }

    /// So many places have been served; never more than were handed out.
    pub fn serve(&mut self, places: u64, now: Micros) {
        self.served = self.served.saturating_add(places).min(self.tail);
        self.moved = now;
    }

    /// Places before this ticket.
    pub fn ahead_of(&self, ticket: u64) -> u64 {
        ticket.saturating_sub(self.served)
    }
}

/// A lane's weight.
pub fn weight(lane: Lane) -> u64 {
    match lane {
        Lane::Transactional => WEIGHT_TRANSACTIONAL,
        Lane::Bulk => WEIGHT_BULK,
    }
}

/// The share of the rate that a line of this lane has beside the lanes of the other lines in which somebody waits.
pub fn share(lane: Lane, others: impl Iterator<Item = Lane>) -> f64 {
    let own = weight(lane);
    let all = own + others.map(weight).sum::<u64>();
    own as f64 / all as f64
}

/// A place in line that comes sooner than this is waited for in hand.
pub const NEAR: Duration = Duration::from_secs(10);
/// No wait in line is believed for longer: by then the rate is another.
pub const BELIEVED: Duration = Duration::from_secs(3_600);

/// How long whoever has this ticket waits in a line, or whoever has none and would stand at its end; none where there is
/// no line. `others` are the lanes of the other lines in which somebody waits.
pub fn turn_in(
    line: Option<&Line>,
    ticket: Option<u64>,
    lane: Lane,
    others: impl Iterator<Item = Lane>,
    a_second: f64,
) -> Option<Duration> {
    let line = line?;
    let ahead = ticket.map_or(line.waiting(), |ticket| line.ahead_of(ticket));
    Some(line_wait(ahead, a_second, share(lane, others)))
}

/// How long a place in line waits: the recipients ahead over the line's share (0 to 1) of so many a second.
pub fn line_wait(places_ahead: u64, a_second: f64, share: f64) -> Duration {
    let a_second = a_second * share.clamp(0.0, 1.0);
    if places_ahead == 0 || a_second.is_infinite() {
        return Duration::ZERO;
    }
    let seconds = places_ahead as f64 / a_second;
    Duration::try_from_secs_f64(seconds).unwrap_or(LINE_WAIT_MAX).min(LINE_WAIT_MAX)
}
