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

/// Places that are served before one with so many ahead of it in its own line: those, and of every other line as many
/// as its weight gives it meanwhile, or all it has.
pub fn served_before(ahead: u64, lane: Lane, others: impl Iterator<Item = (Lane, u64)>) -> u64 {
    let own = weight(lane);
    let of_other = |(lane, waiting): (Lane, u64)| waiting.min(ahead.saturating_mul(weight(lane)) / own);
    others.map(of_other).fold(ahead, u64::saturating_add)
}

/// A place in line that comes sooner than this is waited for in hand.
pub const NEAR: Duration = Duration::from_secs(5);
/// No wait in line is believed for longer: by then the rate is another. A queue keeps a job for so long.
pub const BELIEVED: Duration = Duration::from_secs(15 * 60);

/// The rate to reckon with: what there is now, and how it grows if all goes well. Whoever comes back too early is told
/// again how long; who comes too late leaves a receiver idle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Recipients a second now; infinite without limit.
    pub a_second: f64,
    /// Where it grows to; never less.
    pub top: f64,
    /// How it grows.
    pub growth: Growth,
}

/// How a rate grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Growth {
    /// It stays.
    Steady,
    /// By so much a second in each second.
    By(f64),
    /// Twofold in each of these times.
    Doubling(Duration),
}

impl Outlook {
    /// No faster than so much a second: as its connections can serve.
    #[must_use]
    pub fn at_most(self, a_second: f64) -> Self {
        Self { a_second: self.a_second.min(a_second), top: self.top.min(a_second), ..self }
    }

    /// Seconds until so many places are served.
    fn seconds(&self, places: f64) -> f64 {
        let now = self.a_second.max(1e-9);
        let (to_top, until_top) = match self.growth {
            _ if self.top <= now => return places / now,
            Growth::Steady => return places / now,
            Growth::By(step) => {
                let time = (self.top - now) / step.max(1e-9);
                (time, (now + self.top) / 2.0 * time)
            }
            Growth::Doubling(every) => {
                let every = every.as_secs_f64();
                ((self.top / now).log2() * every, (self.top - now) * every / std::f64::consts::LN_2)
            }
        };
        if places >= until_top {
            return to_top + (places - until_top) / self.top;
        }
        match self.growth {
            Growth::Steady => places / now,
            Growth::By(step) => ((now * now + 2.0 * step * places).sqrt() - now) / step,
            Growth::Doubling(every) => {
                let every = every.as_secs_f64();
                (places * std::f64::consts::LN_2 / (now * every) + 1.0).log2() * every
            }
        }
    }
}

/// How long whoever has this ticket waits in a line, or whoever has none and would stand at its end; none where there is
/// no line. `others` are the lanes of the other lines, and how many wait in each.
pub fn turn_in(
    line: Option<&Line>,
    ticket: Option<u64>,
    lane: Lane,
    others: impl Iterator<Item = (Lane, u64)>,
    outlook: &Outlook,
) -> Option<Duration> {
    let line = line?;
    let ahead = ticket.map_or(line.waiting(), |ticket| line.ahead_of(ticket));
    Some(line_wait(served_before(ahead, lane, others), outlook))
}

/// How long it takes until so many places are served.
pub fn line_wait(places: u64, outlook: &Outlook) -> Duration {
    if places == 0 || outlook.a_second.is_infinite() {
        return Duration::ZERO;
    }
    let seconds = outlook.seconds(places as f64);
    Duration::try_from_secs_f64(seconds).unwrap_or(LINE_WAIT_MAX).min(LINE_WAIT_MAX)
}
