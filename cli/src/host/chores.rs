//! What is done again and again: the clock's look after rows whose wake has come, and the removal of what is past
//! its retention.

use std::time::Duration;

use posthaste_embedded::Embedded;
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::clock::tick;
use posthaste_pipeline::identity::{name_servers, round};
use posthaste_pipeline::stores::Stores;

use super::Stop;

/// Deployed it is a minute; here a look costs a read of an index, and parked mail leaves to the second.
const TICK: Duration = Duration::from_secs(5);
/// Retentions are days.
const PURGE: Duration = Duration::from_secs(3_600);

/// Sends the jobs of rows whose wake has come.
pub(super) async fn clock(ambient: Ambient, stores: Stores, mut stop: Stop) {
    loop {
        match tick(&ambient, &stores).await {
            Ok(ticked) if ticked.sent > 0 => {
                tracing::debug!(jobs = ticked.sent, "jobs were sent for rows that woke")
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the clock could not look after waiting rows"),
        }
        if rest(TICK, &mut stop).await == Rested::Stopped {
            return;
        }
    }
}

/// Looks at what proved domains publish, as often as the policy says.
pub(super) async fn watch(ambient: Ambient, stores: Stores, mut stop: Stop) {
    /// Between two looks whether it is time.
    const LOOK_MIN: Duration = Duration::from_secs(1);
    const LOOK_MAX: Duration = Duration::from_secs(60);
    let pause = || ambient.policy.get().auth.audit_every.clamp(LOOK_MIN, LOOK_MAX);
    while rest(pause(), &mut stop).await == Rested::GoOn {
        let dns = match name_servers(&ambient.policy.get()) {
            Ok(dns) => dns,
            Err(error) => {
                tracing::warn!(%error, "sender domains cannot be looked at");
                continue;
            }
        };
        // Name servers that are silent keep nobody from stopping: the next process goes on.
        let done = tokio::select! {
            () = stop.asked() => return,
            done = round(&ambient, &stores, &dns) => done,
        };
        match done {
            Ok(done) if done.looked_at > 0 => tracing::info!(
                domains = done.looked_at,
                wrong = done.wrong,
                drifted = done.drifted,
                "sender domains were looked at"
            ),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "sender domains could not be looked at"),
        }
    }
}

/// Removes what the policy keeps no longer.
pub(super) async fn purge(ambient: Ambient, store: Embedded, mut stop: Stop) {
    while rest(PURGE, &mut stop).await == Rested::GoOn {
        let keep = ambient.policy.get().retention;
        match store.purge(ambient.now(), keep.ledger, keep.spool).await {
            Ok(purged) => tracing::info!(
                messages = purged.messages,
                bodies = purged.spooled,
                events = purged.events,
                "what is past its retention was removed"
            ),
            Err(error) => tracing::warn!(%error, "what is past its retention could not be removed"),
        }
    }
}

/// How a rest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rested {
    /// Its time is over.
    GoOn,
    /// It is time to stop.
    Stopped,
}

/// Waits, unless it is time to stop.
pub(super) async fn rest(time: Duration, stop: &mut Stop) -> Rested {
    tokio::select! {
        () = stop.asked() => Rested::Stopped,
        () = tokio::time::sleep(time) => Rested::GoOn,
    }
}
