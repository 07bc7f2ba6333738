//! What this process knows of each receiver's pace: the standing as it was a moment ago, tokens in hand, connections
//! held. Everything that counts is in the pacer; here is only what need not be asked again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use posthaste_mail::{Domain, Lane, Tenant, Timestamp};
use posthaste_policy::pacing::book::{TokenAsk, Tokens, makes_room};
use posthaste_policy::pacing::{
    CHUNK, Micros, Pace, Purse, REACH_BULK, REACH_TRANSACTIONAL, chunk, interval_us,
};
use posthaste_policy::standing::{Allowed, Change, Gate, Signal, Standing};
use posthaste_policy::{Limits, Policy};

use super::locked;
use super::seat::{Asking, Rising};
use crate::ambient::Ambient;
use crate::pacer::{LineKey, PaceKey, Pacer, View};
use crate::stores::StoreError;

/// A standing is read again after this: what an operator or another process changed is heeded within it.
const VIEW_AGE_MAX: Duration = Duration::from_secs(2);
/// Receivers remembered; past it those not looked at lately go.
const KNOWN_MAX: usize = 20_000;
/// See [`KNOWN_MAX`].
const UNUSED_AFTER: Duration = Duration::from_secs(600);
/// No leave is asked for longer than this before it is used: a store so slow is another trouble.
const LEAD_MAX: Duration = Duration::from_millis(800);
/// A place that was made is left to whoever wants it for so long.
const ROOM_FOR: Duration = Duration::from_millis(1_500);
/// Tries to write a standing that others write too.
const CONTENTION_MAX: u32 = 6;
/// Tries at tokens whose standing changes meanwhile.
const STALE_MAX: u32 = 3;
/// Places served are told to the pacer this often.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Paces {
    ambient: Ambient,
    pacer: Arc<dyn Pacer>,
    known: Mutex<HashMap<PaceKey, Arc<Paced>>>,
}

/// One receiver.
pub(super) struct Paced {
    pub key: PaceKey,
    pub(super) known: Mutex<Known>,
    /// One look at a time.
    look: tokio::sync::Mutex<()>,
    /// One ask for tokens at a time.
    ask: tokio::sync::Mutex<()>,
    /// One change of the standing at a time.
    telling: tokio::sync::Mutex<()>,
    /// Those who ask for connections, and those who give them back.
    pub(super) asking: Mutex<Vec<Asking>>,
    pub(super) rising: Mutex<Rising>,
}

#[derive(Default)]
pub(super) struct Known {
    view: Option<Arc<View>>,
    /// When it was read.
    read_at: Timestamp,
    purses: [Option<Purse>; 2],
    /// Up to when time is handed out, as far as is known here.
    tat: Option<Micros>,
    /// All seats were taken: nobody asks again before then.
    pub(super) full_until: Timestamp,
    /// Connections that are to make room for somebody urgent, and until when the place is left to it.
    room: u32,
    pub(super) room_until: Timestamp,
    /// From leave to MAIL, smoothed: the claim, and reading the message.
    lead: Duration,
    served: HashMap<(Lane, Tenant), u64>,
    told_at: Timestamp,
    pub(super) mailboxes: super::doubt::Heard,
}

/// Why there are no tokens now.
#[derive(Debug)]
pub(super) enum Refused {
    /// Not before then.
    Later(Timestamp),
    /// The pacer does not answer.
    Store(StoreError),
}

/// What is asked for one transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub lane: Lane,
    /// Its recipients.
    pub recipients: u32,
    /// Recipients that wait here besides, and would be asked for next.
    pub more: u32,
    pub limits: &'a Limits,
    pub sender: Option<&'a Domain>,
    /// How long it takes from leave to MAIL: tokens of that time would be void before they are spent.
    pub lead: Duration,
}

fn nth(lane: Lane) -> usize {
    match lane {
        Lane::Transactional => 0,
        Lane::Bulk => 1,
    }
}

impl Paces {
    pub fn new(ambient: Ambient, pacer: Arc<dyn Pacer>) -> Self {
        Self { ambient, pacer, known: Mutex::default() }
    }

    pub fn pacer(&self) -> &dyn Pacer {
        &*self.pacer
    }

    /// What is known of one receiver.
    pub fn of(&self, key: &PaceKey) -> Arc<Paced> {
        let mut known = locked(&self.known);
        if let Some(paced) = known.get(key) {
            return paced.clone();
        }
        if known.len() >= KNOWN_MAX {
            let now = self.ambient.now();
            known.retain(|_, paced| {
                Arc::strong_count(paced) > 1 || now.since(paced.locked().read_at) < UNUSED_AFTER
            });
        }
        let paced = Arc::new(Paced {
            key: key.clone(),
            known: Mutex::default(),
            look: tokio::sync::Mutex::default(),
            ask: tokio::sync::Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            asking: Mutex::default(),
            rising: Mutex::default(),
        });
        known.entry(key.clone()).or_insert(paced).clone()
    }

    /// How things stand there, at most a moment ago.
    pub async fn view(&self, paced: &Paced) -> Result<Arc<View>, StoreError> {
        if let Some(view) = paced.fresh_view(self.ambient.now()) {
            return Ok(view);
        }
        let _one = paced.look.lock().await;
        match paced.fresh_view(self.ambient.now()) {
            Some(view) => Ok(view),
            None => self.look(paced).await,
        }
    }

    async fn look(&self, paced: &Paced) -> Result<Arc<View>, StoreError> {
        let view = Arc::new(self.pacer.view(&paced.key).await?);
        let mut known = paced.locked();
        known.read_at = self.ambient.now();
        known.tat = known.tat.max(view.tat);
        known.view = Some(view.clone());
        Ok(view)
    }

    /// What may be sent there now.
    pub async fn allowed(
        &self,
        paced: &Paced,
        limits: &Limits,
        sender: Option<&Domain>,
    ) -> Result<Allowed, StoreError> {
        let view = self.view(paced).await?;
        Ok(view.standing.allowed(limits, sender, self.ambient.now()))
    }

    /// Asks for tokens; the time at which the transaction may begin, a little ahead at most.
    pub async fn tokens(&self, paced: &Paced, wish: &Wish<'_>) -> Result<Micros, Refused> {
        for _ in 0..STALE_MAX {
            let view = self.view(paced).await.map_err(Refused::Store)?;
            let now = self.ambient.now();
            let allowed = view.standing.allowed(wish.limits, wish.sender, now);
            if let Gate::Closed { until, .. } = allowed.gate {
                return Err(Refused::Later(until));
            }
            let pace = Pace {
                interval_us: interval_us(allowed.a_second),
                burst: wish.limits.burst.value,
                reach: match wish.lane {
                    Lane::Transactional => REACH_TRANSACTIONAL,
                    Lane::Bulk => REACH_BULK,
                },
            };
            if pace.interval_us == 0 {
                return Ok(Micros::at(now));
            }
            if let Some(at) = paced.reserve(wish, &pace, Micros::at(now.plus(wish.lead))) {
                return Ok(at);
            }
            let _one = paced.ask.lock().await;
            if let Some(at) = paced.reserve(wish, &pace, Micros::at(self.ambient.now().plus(wish.lead))) {
                return Ok(at);
            }
            match self.grant(paced, wish, pace, view.standing.epoch).await? {
                Some(at) => return Ok(at),
                None => {
                    self.look(paced).await.map_err(Refused::Store)?;
                }
            }
        }
        Err(Refused::Later(self.ambient.now().plus(CHUNK)))
    }

    /// None: the standing has changed.
    async fn grant(
        &self,
        paced: &Paced,
        wish: &Wish<'_>,
        pace: Pace,
        epoch: u64,
    ) -> Result<Option<Micros>, Refused> {
        let now = Micros::at(self.ambient.now().plus(wish.lead));
        let tokens = wish.recipients.max(chunk(pace.interval_us).min(wish.recipients + wish.more));
        let ask = TokenAsk { tokens, pace, epoch, now };
        match self.pacer.tokens(&paced.key, &ask).await.map_err(Refused::Store)? {
            Tokens::Granted { grant, wanted } => {
                let now = self.ambient.now();
                let mut known = paced.locked();
                let purse = known.purses[nth(wish.lane)].insert(Purse::new(grant));
                let at = purse.reserve(Micros::at(now.plus(wish.lead)), wish.recipients);
                let cost = pace.interval_us.saturating_mul(i64::from(tokens));
                known.tat = known.tat.max(Some(grant.from.plus(cost)));
                if makes_room(wanted, Micros::at(now)) {
                    known.room += 1;
                    known.room_until = now.plus(ROOM_FOR);
                }
                // An answer that took so long that its tokens passed meanwhile: ask again a little later.
                at.map(Some).ok_or(Refused::Later(now))
            }
            Tokens::Later(at) => Err(Refused::Later(at.up().minus(wish.lead))),
            Tokens::Stale => Ok(None),
        }
    }

    /// Tells of what happened there; what changed by it.
    pub async fn tell(
        &self,
        paced: &Paced,
        limits: &Limits,
        policy: &Policy,
        signal: &Signal<'_>,
    ) -> Result<Vec<Change>, StoreError> {
        let mut view = self.view(paced).await?;
        if view.standing.react(signal, limits, policy).is_none() {
            return Ok(Vec::new());
        }
        // Connections that are at work here hear the same at once: one after the other, so that they see what was written.
        let _one = paced.telling.lock().await;
        view = self.view(paced).await?;
        for _ in 0..CONTENTION_MAX {
            let Some(reacted) = view.standing.react(signal, limits, policy) else { return Ok(Vec::new()) };
            if self.write(paced, &view, &reacted.standing).await? {
                return Ok(reacted.changes);
            }
            view = self.look(paced).await?;
        }
        Ok(Vec::new())
    }

    /// Whether this one is the probe of a receiver that is closed.
    pub async fn probes(&self, paced: &Paced, sender: Option<&Domain>) -> Result<bool, StoreError> {
        let view = self.look(paced).await?;
        match view.standing.probing(sender, self.ambient.now()) {
            Some(probing) => self.write(paced, &view, &probing).await,
            None => Ok(false),
        }
    }

    async fn write(&self, paced: &Paced, view: &View, standing: &Standing) -> Result<bool, StoreError> {
        if !self.pacer.stand(&paced.key, standing).await? {
            return Ok(false);
        }
        let mut known = paced.locked();
        known.view = Some(Arc::new(View { standing: standing.clone(), ..view.clone() }));
        Ok(true)
    }

    /// Somebody with a place in line is through with it; told to the pacer now and then.
    pub async fn served(&self, paced: &Paced, lane: Lane, tenant: &Tenant, places: u64) {
        let due = {
            let mut known = paced.locked();
            *known.served.entry((lane, tenant.clone())).or_default() += places;
            self.ambient.now().since(known.told_at) >= TOLD_EVERY
        };
        if due {
            self.tell_served(paced).await;
        }
    }

    /// Tells the pacer of every place served at every receiver.
    pub async fn tell_all_served(&self) {
        let owing: Vec<Arc<Paced>> =
            locked(&self.known).values().filter(|paced| !paced.locked().served.is_empty()).cloned().collect();
        for paced in owing {
            self.tell_served(&paced).await;
        }
    }

    /// Tells the pacer of all places served. What cannot be told makes others wait longer than they need; that mends
    /// itself.
    pub async fn tell_served(&self, paced: &Paced) {
        let now = self.ambient.now();
        let served = {
            let mut known = paced.locked();
            known.told_at = now;
            std::mem::take(&mut known.served)
        };
        for ((lane, tenant), places) in served {
            let line = LineKey { key: paced.key.clone(), lane, tenant };
            if let Err(error) = self.pacer.served(&line, places, Micros::at(now)).await {
                tracing::debug!(%error, "places served could not be told");
            }
        }
    }
}

impl Paced {
    pub(super) fn locked(&self) -> MutexGuard<'_, Known> {
        locked(&self.known)
    }

    /// Notes how long it took from leave to MAIL.
    pub fn led(&self, took: Duration) {
        let mut known = self.locked();
        known.lead = (known.lead * 3 + took.min(LEAD_MAX)) / 4;
    }

    /// How long that takes, with some room: leave is asked for so much before it is used.
    pub fn lead(&self) -> Duration {
        (self.locked().lead * 3 / 2).min(LEAD_MAX)
    }

    fn fresh_view(&self, now: Timestamp) -> Option<Arc<View>> {
        let known = self.locked();
        let is_fresh = now.since(known.read_at) < VIEW_AGE_MAX && known.read_at <= now;
        known.view.clone().filter(|_| is_fresh)
    }

    /// Up to when the receiver's time is handed out, as far as is known here.
    pub fn tat(&self) -> Option<Micros> {
        self.locked().tat
    }

    /// Whether whoever asks, and holds a connection for other mail, is the one that makes room for somebody urgent.
    pub fn makes_room(&self) -> bool {
        let mut known = self.locked();
        let makes = known.room > 0;
        known.room = known.room.saturating_sub(1);
        makes
    }

    fn reserve(&self, wish: &Wish<'_>, pace: &Pace, now: Micros) -> Option<Micros> {
        let mut known = self.locked();
        let purse = &mut known.purses[nth(wish.lane)];
        // What was granted at a faster pace is not spent at it.
        if purse.is_some_and(|purse| purse.interval_us() < pace.interval_us) {
            *purse = None;
        }
        purse.as_mut()?.reserve(now, wish.recipients)
    }

    /// Whether tokens reserved for `at` are still good.
    pub fn is_good(&self, lane: Lane, at: Micros, now: Micros) -> bool {
        self.locked().purses[nth(lane)].is_none_or(|purse| purse.is_good(at, now))
    }
}
