//! A connection's leave to exist: a lease in the pacer, renewed while it is held, given back when it is closed. A
//! holder that dies is forgotten when its lease lapses.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use posthaste_mail::{Lane, Timestamp};
use posthaste_policy::Limits;
use posthaste_policy::pacing::seats::{GIVE_UP, LEASE, RENEW_WITHIN, Seat, SeatAsk, Urgency};
use posthaste_policy::pacing::{Micros, interval_us};
use posthaste_policy::standing::Allowed;

use super::Inner;
use super::paces::Paced;
use crate::ambient::Ambient;
use crate::pacer::Pacer;
use crate::stores::StoreError;

/// All seats of a site are taken: nobody here asks again within this time, stretched by up to as much again.
pub(super) const FULL_FOR: Duration = Duration::from_millis(700);

/// A connection that may be opened within this is waited for, a few times.
const SOON: Duration = Duration::from_secs(2);
/// See [`SOON`].
const SOON_MAX: u32 = 4;

/// One connection's lease.
pub(super) struct SeatHeld {
    pub paced: Arc<Paced>,
    who: String,
    until: AtomicI64,
    leave: AtomicBool,
    max: u32,
}

/// Why there is none.
pub(super) enum NoSeat {
    /// Not before then.
    Later(Timestamp),
    /// The pacer does not answer.
    Store(StoreError),
}

impl SeatHeld {
    /// Whether another message may go over the connection.
    pub fn holds(&self, now: Timestamp) -> bool {
        !self.leave.load(Ordering::Relaxed)
            && Timestamp(self.until.load(Ordering::Relaxed)) > now.plus(GIVE_UP)
    }
}

impl Inner {
    /// Asks for one connection.
    pub(super) async fn sit(
        &self,
        paced: &Arc<Paced>,
        lane: Lane,
        allowed: &Allowed,
        limits: &Limits,
    ) -> Result<Arc<SeatHeld>, NoSeat> {
        let now = self.ambient.now();
        let urgency = match lane {
            Lane::Transactional => Urgency::Urgent,
            Lane::Bulk => Urgency::Usual,
        };
        {
            let known = paced.locked();
            let makes_room = urgency == Urgency::Usual && now < known.room_until;
            if now < known.full_until || makes_room {
                return Err(NoSeat::Later(known.full_until.max(now.plus(FULL_FOR))));
            }
        }
        let octets = self.ambient.chance.octets();
        let who: String = octets[..8].iter().map(|octet| format!("{octet:02x}")).collect();
        let ask = SeatAsk {
            who: who.clone(),
            max: allowed.connections.max(1),
            opening_us: interval_us(limits.connection_rate.value.a_second()),
            urgency,
            now: Micros::at(now),
        };
        match self.ask_for_seat(paced, ask.clone()).await.map_err(NoSeat::Store)? {
            Seat::Taken(until) => {
                let held = Arc::new(SeatHeld {
                    paced: paced.clone(),
                    who,
                    until: AtomicI64::new(until.to_millis()),
                    leave: AtomicBool::new(false),
                    max: ask.max,
                });
                tokio::spawn(renew(Arc::downgrade(&held), self.ambient.clone(), self.stores.pacer.clone()));
                Ok(held)
            }
            Seat::TooSoon(at) => Err(NoSeat::Later(at.up())),
            Seat::Full(_) | Seat::Leave => {
                let until = now.plus(FULL_FOR.mul_f64(1.0 + self.ambient.chance.unit()));
                paced.locked().full_until = until;
                Err(NoSeat::Later(until))
            }
        }
    }

    /// Asks, and once more where a connection was opened a moment ago and the next may be in another.
    async fn ask_for_seat(&self, paced: &Paced, mut ask: SeatAsk) -> Result<Seat, StoreError> {
        for _ in 0..SOON_MAX {
            match self.paces.pacer().sit(&paced.key, &ask).await? {
                Seat::TooSoon(at) if at.up().since(self.ambient.now()) <= SOON => {
                    tokio::time::sleep_until(self.instant(at.up())).await;
                    ask.now = Micros::at(self.ambient.now());
                }
                answer => return Ok(answer),
            }
        }
        Ok(Seat::TooSoon(ask.now.plus(ask.opening_us)))
    }

    /// Gives a connection's lease back.
    pub(super) async fn rise(&self, seat: &SeatHeld) {
        // Somebody else may have it at once: those here who found none may ask again, too.
        seat.paced.locked().full_until = Timestamp::default();
        if let Err(error) = self.paces.pacer().rise(&seat.paced.key, &seat.who).await {
            tracing::debug!(%error, "a connection's lease could not be given back: it lapses");
        }
    }
}

/// Renews a lease until its holder has let go of it.
async fn renew(held: Weak<SeatHeld>, ambient: Ambient, pacer: Arc<dyn Pacer>) {
    /// Between tries while the pacer does not answer.
    const AGAIN: Duration = Duration::from_secs(3);
    let mut pause = LEASE.saturating_sub(RENEW_WITHIN);
    loop {
        tokio::time::sleep(pause).await;
        let Some(seat) = held.upgrade() else { return };
        let ask = SeatAsk {
            who: seat.who.clone(),
            max: seat.max,
            opening_us: 0,
            urgency: Urgency::Usual,
            now: Micros::at(ambient.now()),
        };
        pause = match pacer.sit(&seat.paced.key, &ask).await {
            Ok(Seat::Taken(until)) => {
                seat.until.store(until.to_millis(), Ordering::Relaxed);
                LEASE.saturating_sub(RENEW_WITHIN)
            }
            // It lapsed, or there are fewer now: the connection is closed when its message is through.
            Ok(Seat::Leave | Seat::Full(_) | Seat::TooSoon(_)) => {
                seat.leave.store(true, Ordering::Relaxed);
                LEASE.saturating_sub(RENEW_WITHIN)
            }
            Err(error) => {
                tracing::debug!(%error, "a connection's lease could not be renewed");
                AGAIN
            }
        };
    }
}
