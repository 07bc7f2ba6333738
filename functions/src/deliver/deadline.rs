//! Until when deliveries may go on, by when the invocation ends. Pure.

use std::time::Duration;

use posthaste_mail::Timestamp;

/// Kept at the end for what follows a dialogue: settling, through an outage of the store that a few tries outlast
/// (34 s of pauses), giving the job back, hanging up.
const RESERVE: Duration = Duration::from_secs(50);
/// A shorter function keeps this share of its time instead.
const RESERVE_SHARE: u32 = 4;
/// The times of one invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// What the dialogues must have ended by.
    pub deadline: Timestamp,
    /// No job that goes alone is begun after this: it would only find out that DATA does not fit any more.
    pub begun_before: Timestamp,
}

/// For an invocation that works from `now` and is ended at `ends`, where the final reply may take `dot`.
pub(super) fn times(now: Timestamp, ends: Timestamp, dot: Duration) -> Times {
    let left = ends.since(now);
    let deadline = ends.minus(RESERVE.min(left / RESERVE_SHARE));
    let begun_before = deadline.minus(dot.min(left / 2));
    Times { deadline, begun_before }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_dialogue_has_its_time() {
        let check = |left_s: u64, deadline_s: u64, begun_before_s: u64| {
            let now = Timestamp(1_800_000_000_000);
            let after = |seconds| now.plus(Duration::from_secs(seconds));
            let expected = Times { deadline: after(deadline_s), begun_before: after(begun_before_s) };
            let dot = Duration::from_secs(300);
            assert_eq!(times(now, after(left_s), dot), expected, "{left_s} s left");
        };
        check(900, 850, 550);
        check(600, 550, 250);
        check(300, 250, 100);
        check(100, 75, 25);
        check(8, 6, 2);
        check(0, 0, 0);
    }
}
