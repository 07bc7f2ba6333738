//! A connection's leave to exist: a lease in the pacer, renewed while it is held, given back when it is closed. A
//! holder that dies is forgotten when its lease lapses.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use posthaste_mail::{Lane, Timestamp};
use posthaste_policy::Limits;
use posthaste_policy::pacing::seats::{GIVE_UP, LEASE, RENEW_WITHIN, Seat, SeatAsk, Urgency};
use posthaste_policy::pacing::{Micros, interval_us};
use posthaste_policy::standing::Allowed;
use tokio::sync::{Notify, oneshot};

use super::paces::Paced;
use super::{Inner, locked};
use crate::ambient::Ambient;
use crate::pacer::Pacer;
use crate::stores::StoreError;

/// All seats of a site are taken: nobody here asks again within this time, stretched by up to as much again.
pub(super) const FULL_FOR: Duration = Duration::from_millis(700);

/// A connection that may be opened within this is waited for, a few times.
const SOON: Duration = Duration::from_secs(2);
/// See [`SOON`].
const SOON_MAX: u32 = 4;

/// Those who ask in the same moment are gathered for so long: each write costs as much as one for all of them.
const GATHERED_FOR: Duration = Duration::from_millis(3);

/// Somebody who asks for a connection, and how it is told.
pub(super) type Asking = (SeatAsk, oneshot::Sender<Result<Seat, StoreError>>);

/// Connections that are being given back.
#[derive(Default)]
pub(super) struct Rising {
    who: Vec<String>,
    done: Arc<Notify>,
}

/// One connection's lease.
pub(super) struct SeatHeld {
    pub paced: Arc<Paced>,
    who: String,
    until: AtomicI64,
    leave: AtomicBool,
    /// Connections there may be, as last heard: whoever is over it hears so at its next renewal.
    max: AtomicU32,
}

/// Why there is none.
pub(super) enum NoSeat {
    /// Not before then.
    Later(Timestamp),
    /// The pacer does not answer.
    Store(StoreError),
}

impl SeatHeld {
    /// Notes how many connections there may be now.
    pub fn of(&self, connections: u32) {
        self.max.store(connections.max(1), Ordering::Relaxed);
    }

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
        let max = allowed.connections.max(1);
        let ask = SeatAsk {
            who: vec![who.clone()],
            max,
            opening_us: Some(interval_us(limits.connection_rate.value.a_second())),
            urgency,
            now: Micros::at(now),
        };
        match self.together(paced, ask).await.map_err(NoSeat::Store)? {
            Seat::Taken(until) => {
                let held = Arc::new(SeatHeld {
                    paced: paced.clone(),
                    who,
                    until: AtomicI64::new(until.to_millis()),
                    leave: AtomicBool::new(false),
                    max: AtomicU32::new(max),
                });
                tokio::spawn(renew(Arc::downgrade(&held), self.ambient.clone(), self.stores.pacer.clone()));
                Ok(held)
            }
            Seat::TooSoon(at) => Err(NoSeat::Later(at.up())),
            Seat::Full(_) | Seat::Leave => {
                let until = self.ambient.now().plus(FULL_FOR.mul_f64(1.0 + self.ambient.chance.unit()));
                paced.locked().full_until = until;
                Err(NoSeat::Later(until))
            }
        }
    }

    /// Asks together with others here who ask in the same moment: a write for all of them, where they fit; else for one
    /// after the other.
    async fn together(&self, paced: &Arc<Paced>, ask: SeatAsk) -> Result<Seat, StoreError> {
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut asking = locked(&paced.asking);
            asking.push((ask, answer));
            asking.len() == 1
        };
        if is_first {
            tokio::time::sleep(GATHERED_FOR).await;
            let asking = std::mem::take(&mut *locked(&paced.asking));
            self.ask_for_all(paced, asking).await;
        }
        // Whoever asked for all was dropped: whoever waits asks again when its job comes again.
        answered
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("a connection was not asked for".to_owned())))
    }

    async fn ask_for_all(&self, paced: &Paced, asking: Vec<Asking>) {
        let Some((first, _)) = asking.first() else { return };
        let all = SeatAsk {
            who: asking.iter().flat_map(|(ask, _)| ask.who.clone()).collect(),
            now: Micros::at(self.ambient.now()),
            ..first.clone()
        };
        if asking.len() > 1 && all.who.len() <= usize::try_from(all.max).unwrap_or(usize::MAX) {
            let answer = self.ask_for_seat(paced, all).await;
            if let Ok(Seat::Taken(_)) | Err(_) = answer {
                // Nobody may wait for it any more: the lease lapses.
                asking.into_iter().for_each(|(_, told)| drop(told.send(answer.clone())));
                return;
            }
        }
        let mut refused = None;
        for (ask, told) in asking {
            let answer = match refused {
                Some(seat) => Ok(seat),
                None => self.ask_for_seat(paced, ask).await,
            };
            refused = answer.as_ref().ok().filter(|seat| matches!(seat, Seat::Full(_))).copied();
            drop(told.send(answer));
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
        Ok(Seat::TooSoon(ask.now.plus(ask.opening_us.unwrap_or_default())))
    }

    /// Gives a connection's lease back, together with others that are closed in the same moment.
    pub(super) async fn rise(&self, seat: &SeatHeld) {
        let paced = &seat.paced;
        // Somebody else may have it at once: those here who found none may ask again, too.
        paced.locked().full_until = Timestamp::default();
        let (done, is_first) = {
            let mut rising = locked(&paced.rising);
            rising.who.push(seat.who.clone());
            // Made under the lock: whoever is in the list is told.
            (rising.done.clone().notified_owned(), rising.who.len() == 1)
        };
        if !is_first {
            return done.await;
        }
        tokio::time::sleep(GATHERED_FOR).await;
        let Rising { who, done } = std::mem::take(&mut *locked(&paced.rising));
        if let Err(error) = self.paces.pacer().rise(&paced.key, &who).await {
            tracing::debug!(%error, "connections could not be given back: their leases lapse");
        }
        done.notify_waiters();
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
            who: vec![seat.who.clone()],
            max: seat.max.load(Ordering::Relaxed),
            opening_us: None,
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
