//! How long to wait before a process that ended is started again.

use std::time::{Duration, Instant};

/// The first wait after the immediate restart.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// A process that ran for this long is healthy: its next end starts the count anew.
const HEALTHY: Duration = Duration::from_secs(60);
/// This many ends within `WINDOW` raise an alarm.
const ALARM_ENDS: usize = 5;
const WINDOW: Duration = Duration::from_secs(120);

/// Waits of one process: none after its first end, then 0.2 s doubling to 30 s.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    next: Duration,
    ends: Vec<Instant>,
}

impl Backoff {
    /// The process that was started at `started` ended at `now`: how long to wait before the next start.
    pub fn ended(&mut self, started: Instant, now: Instant) -> Duration {
        if now.saturating_duration_since(started) >= HEALTHY {
            self.next = Duration::ZERO;
        }
        self.ends.retain(|end| now.saturating_duration_since(*end) < WINDOW);
        self.ends.push(now);
        let wait = self.next;
        self.next = (wait * 2).clamp(FIRST, LONGEST);
        wait
    }

    /// Whether it ended five times or more in the two minutes before the last end.
    #[must_use]
    pub fn alarming(&self) -> bool {
        self.ends.len() >= ALARM_ENDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_and_later_ones_wait_longer_up_to_thirty_seconds() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        let waits: Vec<u128> = (0..11).map(|_| backoff.ended(now, now).as_millis()).collect();
        assert_eq!(waits, [0, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
    }

    #[test]
    fn a_process_that_ran_for_a_minute_starts_anew() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        backoff.ended(start, start);
        backoff.ended(start, start);
        assert_eq!(backoff.ended(start, start + HEALTHY), Duration::ZERO);
    }

    #[test]
    fn five_ends_in_two_minutes_are_an_alarm_and_five_over_a_day_are_not() {
        let (mut fast, mut slow) = (Backoff::default(), Backoff::default());
        let start = Instant::now();
        for i in 0..5 {
            assert!(!fast.alarming() && !slow.alarming());
            fast.ended(start, start + Duration::from_secs(i * 20));
            slow.ended(start, start + Duration::from_secs(i * 3_600));
        }
        assert!(fast.alarming() && !slow.alarming());
    }
}
