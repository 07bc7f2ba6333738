//! What an invocation's deliveries came to, counted as the pipeline tells it. No text and no metric service here:
//! module `emf` writes it down.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use posthaste_mail::{Lane, Timestamp};
use posthaste_pipeline::effect::About;
use posthaste_pipeline::identity::Reported;
use posthaste_pipeline::meter::{Happened, Meter, Wait, metric_of};
use posthaste_pipeline::stores::WaitingGroup;

/// Values that one metric of a line may have (CloudWatch's limit).
const SAMPLES_MAX: usize = 100;
/// Sites that are counted apart; a batch of an invocation goes to fewer.
const SITES_MAX: usize = 1_000;
/// The category of a job that our own pacing put back: no receiver said so.
const PACED: &str = "pacer";

/// Milliseconds, at most [`SAMPLES_MAX`] of them: past it every second one goes, and from then on only every second
/// one comes, so that what is left stands for the whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    values: Vec<u64>,
    seen: u64,
    /// Of how many one is kept, as a power of two.
    thinned: u32,
}

impl Samples {
    fn add(&mut self, took: Duration) {
        let kept = self.seen.is_multiple_of(1 << self.thinned);
        self.seen += 1;
        if !kept {
            return;
        }
        if self.values.len() == SAMPLES_MAX {
            let mut nth = 0_usize;
            self.values.retain(|_| {
                nth += 1;
                !nth.is_multiple_of(2)
            });
            self.thinned += 1;
        }
        self.values.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }

    /// In the order in which they came.
    pub fn values(&self) -> &[u64] {
        &self.values
    }
}

/// Numbers by the name of their metric, and times to delivery.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// Counts.
    pub numbers: BTreeMap<&'static str, u64>,
    /// `TimeToDelivery`.
    pub delivered_in: Samples,
}

impl Sums {
    fn add(&mut self, metric: &'static str, number: usize) {
        if number > 0 {
            *self.numbers.entry(metric).or_default() += u64::try_from(number).unwrap_or(u64::MAX);
        }
    }
}

/// Everything that was counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counted {
    /// All together.
    pub all: Sums,
    /// By lane.
    pub lanes: BTreeMap<Lane, Sums>,
    /// Deferrals, throttles and bounces by category.
    pub categories: BTreeMap<&'static str, Sums>,
    /// Waits for names, connections and handshakes, by the name of their metric.
    pub waits: BTreeMap<&'static str, Samples>,
    /// Recipients tried, by site.
    pub sites: BTreeMap<String, u64>,
}

impl Counted {
    fn of_lane(&mut self, lane: Lane, metric: &'static str, number: usize) {
        self.all.add(metric, number);
        self.lanes.entry(lane).or_default().add(metric, number);
    }

    fn of_category(&mut self, lane: Lane, category: &'static str, metric: &'static str) {
        self.of_lane(lane, metric, 1);
        self.categories.entry(category).or_default().add(metric, 1);
    }

    fn add(&mut self, happened: Happened<'_>) {
        match happened {
            Happened::Accepted { lane, recipients } => self.of_lane(lane, "Accepted", recipients),
            Happened::Refused => self.all.add("Refused", 1),
            Happened::StoreFailed => self.all.add("StoreErrors", 1),
            Happened::SiteChanged => self.all.add("SiteChanges", 1),
            Happened::SiteShut => self.all.add("SitesShut", 1),
            Happened::DomainsWrong(domains) => self.all.add("DomainsWrong", domains),
            Happened::Reported(Reported { own, others, sessions }) => {
                let metrics = [
                    ("DmarcOwn", own.0),
                    ("DmarcOwnFailed", own.1),
                    ("DmarcOthers", others.0),
                    ("DmarcOthersFailed", others.1),
                    ("TlsSessions", sessions.0),
                    ("TlsSessionsFailed", sessions.1),
                ];
                for (metric, number) in metrics.into_iter().filter(|(_, number)| *number > 0) {
                    self.all.add(metric, usize::try_from(number).unwrap_or(usize::MAX));
                }
            }
            Happened::Paced { lane } => self.of_category(lane, PACED, "Throttled"),
            Happened::Attempted { lane, site, recipients } => {
                self.of_lane(lane, "Attempts", recipients);
                if let Some(site) = site
                    && recipients > 0
                    && (self.sites.len() < SITES_MAX || self.sites.contains_key(site))
                {
                    let tried = u64::try_from(recipients).unwrap_or(u64::MAX);
                    *self.sites.entry(site.to_owned()).or_default() += tried;
                }
            }
            Happened::Waited { on, took } => {
                let metric = match on {
                    Wait::Names => "DnsTime",
                    Wait::Connect => "ConnectTime",
                    Wait::Handshake => "TlsTime",
                };
                self.waits.entry(metric).or_default().add(took);
            }
            Happened::Told { event, waited } => {
                let Some(metric) = metric_of(event) else { return };
                let Some(About { lane, .. }) = event.about else { return self.all.add(metric, 1) };
                match (&event.attempt, metric) {
                    (Some(attempt), "Deferred" | "Bounced" | "Throttled") => {
                        self.of_category(lane, attempt.verdict.category.as_str(), metric);
                    }
                    _ => self.of_lane(lane, metric, 1),
                }
                if metric == "Delivered" {
                    self.all.delivered_in.add(waited);
                    self.lanes.entry(lane).or_default().delivered_in.add(waited);
                }
            }
        }
    }
}

/// The meter of a function: what happened since it was last asked.
#[derive(Debug, Default)]
pub struct Counts(Mutex<Counted>);

impl Counts {
    /// What was counted since the last time this was asked.
    pub fn take(&self) -> Counted {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Meter for Counts {
    fn note(&self, happened: Happened<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(happened);
    }
}

/// What stands in the ledger, as whoever looks at it once a minute finds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Rows that are open or being sent; estimated where there are many.
    pub waiting: u64,
    /// Since the oldest of them was accepted, in seconds.
    pub age_s: u64,
    /// Jobs that were put aside and not put back.
    pub dead_letters: u64,
}

impl Standing {
    /// Of the groups that wait, and the dead letters there are.
    pub fn of(groups: &[WaitingGroup], dead_letters: usize, now: Timestamp) -> Self {
        let oldest = groups.iter().map(|group| group.oldest).min();
        Self {
            waiting: groups.iter().map(|group| group.count).sum(),
            age_s: oldest.map_or(0, |oldest| now.since(oldest).as_secs()),
            dead_letters: u64::try_from(dead_letters).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_for_all_of_a_long_run() {
        let mut samples = Samples::default();
        (0..1_000).for_each(|ms| samples.add(Duration::from_millis(ms)));
        let values = samples.values();
        assert!(values.len() <= SAMPLES_MAX && values.len() > SAMPLES_MAX / 2 - 1);
        assert_eq!(values.first(), Some(&0));
        assert!(values.last().is_some_and(|last| *last > 980));
        assert!(values.windows(2).all(|two| two[1] - two[0] == 16));
    }

    #[test]
    fn what_did_not_happen_is_not_counted() {
        let counts = Counts::default();
        counts.note(Happened::Attempted { lane: Lane::Bulk, site: Some("a.example"), recipients: 0 });
        let counted = counts.take();
        assert!(counted.all.numbers.is_empty() && counted.sites.is_empty());
    }

    #[test]
    fn what_our_own_pacing_puts_back_is_a_throttle_of_its_own_category() {
        let counts = Counts::default();
        counts.note(Happened::Paced { lane: Lane::Bulk });
        let counted = counts.take();
        assert_eq!(counted.all.numbers, BTreeMap::from([("Throttled", 1)]));
        assert_eq!(counted.categories[PACED].numbers, BTreeMap::from([("Throttled", 1)]));
        assert_eq!(counts.take(), Counted::default());
    }
}
