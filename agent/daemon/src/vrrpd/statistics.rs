//! What the real-time thread counts for others to read, without locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bascule_core::status::Lateness;
use bascule_core::time::Instant;

/// Counters of the real-time thread. Each is exact; read together they may be one event apart.
#[derive(Debug, Default)]
pub struct Statistics {
    sent: AtomicU64,
    lateness_sum: AtomicU64,
    lateness_worst: AtomicU64,
    missed: AtomicU64,
    send_errors: AtomicU64,
    received: AtomicU64,
    malformed: AtomicU64,
    dropped_tellings: AtomicU64,
    snapshot_errors: AtomicU64,
    heartbeat: AtomicU64,
}

impl Statistics {
    /// An advert left; it was due at `due`.
    pub fn sent(&self, due: Instant, left: Instant) {
        let late = u64::try_from(left.since(due).as_nanos()).unwrap_or(u64::MAX);
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.lateness_sum.fetch_add(late, Ordering::Relaxed);
        self.lateness_worst.fetch_max(late, Ordering::Relaxed);
    }

    /// How late adverts left after their deadline.
    #[must_use]
    pub fn lateness(&self) -> Lateness {
        let sent = self.sent.load(Ordering::Relaxed);
        let sum = self.lateness_sum.load(Ordering::Relaxed);
        Lateness {
            sent,
            mean: Duration::from_nanos(sum.checked_div(sent).unwrap_or(0)),
            worst: Duration::from_nanos(self.lateness_worst.load(Ordering::Relaxed)),
        }
    }

    /// A deadline was met later than the shortest advertisement interval.
    pub fn missed(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    /// The kernel refused to send.
    pub fn send_error(&self) {
        self.send_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// A VRRP message was taken from a socket.
    pub fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// A packet that cannot be a VRRP message was taken from a socket.
    pub fn malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// A notice or announcement found the queue full.
    pub fn dropped_telling(&self) {
        self.dropped_tellings.fetch_add(1, Ordering::Relaxed);
    }

    /// The snapshot could not be written.
    pub fn snapshot_error(&self) {
        self.snapshot_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// The thread is alive.
    pub fn beat(&self, now: Instant) {
        self.heartbeat.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// When the thread was last seen alive. It beats at least once a second.
    #[must_use]
    pub fn heartbeat(&self) -> Instant {
        Instant::from_nanos(self.heartbeat.load(Ordering::Relaxed))
    }

    /// All counters by name, for status and metrics.
    #[must_use]
    pub fn counters(&self) -> [(&'static str, u64); 7] {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("received", get(&self.received)),
            ("malformed", get(&self.malformed)),
            ("sent", get(&self.sent)),
            ("send_errors", get(&self.send_errors)),
            ("missed_deadlines", get(&self.missed)),
            ("dropped_tellings", get(&self.dropped_tellings)),
            ("snapshot_errors", get(&self.snapshot_errors)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_mean_and_worst_of_all_adverts() {
        let statistics = Statistics::default();
        assert_eq!(statistics.lateness(), Lateness::default());
        let due = Instant::from_nanos(1_000_000);
        statistics.sent(due, due + Duration::from_micros(10));
        statistics.sent(due, due + Duration::from_micros(50));
        statistics.sent(due, due);
        let lateness = statistics.lateness();
        assert_eq!(lateness.sent, 3);
        assert_eq!(lateness.mean, Duration::from_micros(20));
        assert_eq!(lateness.worst, Duration::from_micros(50));
    }
}
