//! All that must be agreed on for one receiver from moment to moment, as a value: a store that can change a value
//! under a lock keeps it so; one that cannot writes the same changes as conditions on each field.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seats::{Seat, SeatAsk, Seats, Urgency};
use super::{Answer, Grant, Micros, Pace, ask};

/// Somebody urgent was without a seat so lately that others make room.
pub const WANTED_FOR: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// The time up to which everything is handed out.
    pub tat: Option<Micros>,
    /// The latest standing that tokens were asked under: who knows an older one is told so.
    pub epoch: u64,
    /// From when another connection may be opened.
    pub opened: Option<Micros>,
    /// Who holds connections.
    pub seats: Seats,
    /// When somebody urgent last found all seats taken.
    pub wanted: Option<Micros>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenAsk {
    /// Recipients.
    pub tokens: u32,
    /// How fast.
    pub pace: Pace,
    /// The standing that pace comes from.
    pub epoch: u64,
    /// Now.
    pub now: Micros,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// Here they are.
    Granted {
        /// The tokens.
        grant: Grant,
        /// When somebody urgent was without a seat; told once: whoever hears it makes room for one, if it is not longer
        /// ago than [`WANTED_FOR`].
        wanted: Option<Micros>,
    },
    /// Not before then.
    Later(Micros),
    /// The receiver's standing has changed: read it again and ask again.
    Stale,
}

impl Book {
    /// Asks for tokens.
    pub fn tokens(&mut self, wish: &TokenAsk) -> Tokens {
        if wish.epoch < self.epoch {
            return Tokens::Stale;
        }
        match ask(self.tat, wish.now, wish.tokens, &wish.pace) {
            Answer::Granted(tat, _, grant) => {
                self.tat = Some(tat);
                self.epoch = wish.epoch;
                // One makes room, not everybody.
                Tokens::Granted { grant, wanted: self.wanted.take() }
            }
            Answer::Later(when) => Tokens::Later(when),
        }
    }

    /// Asks for a connection, or to keep one.
    pub fn sit(&mut self, wish: &SeatAsk) -> Seat {
        let seat = self.seats.take(wish, &mut self.opened);
        if matches!(seat, Seat::Full(_)) && wish.urgency == Urgency::Urgent {
            self.wanted = Some(wish.now);
        }
        seat
    }
}

/// Whether whoever holds a connection for other mail makes room now.
pub fn makes_room(wanted: Option<Micros>, now: Micros) -> bool {
    let while_wanted = i64::try_from(WANTED_FOR.as_micros()).unwrap_or(i64::MAX);
    wanted.is_some_and(|at| now.0.saturating_sub(at.0) < while_wanted)
}
