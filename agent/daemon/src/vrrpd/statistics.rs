//! What the real-time thread counts for others to read, without locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use bascule_core::router;
use bascule_core::status::Lateness;
use bascule_core::time::Instant;

/// Time between two reports of trouble.
const REPORT: Duration = Duration::from_secs(60);

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
    adverts: Mutex<router::Statistics>,
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

    /// Publishes what the router has counted, unless a reader is just taking it.
    pub fn publish(&self, adverts: router::Statistics) {
        match self.adverts.try_lock() {
            Ok(mut slot) => *slot = adverts,
            Err(TryLockError::Poisoned(poisoned)) => *poisoned.into_inner() = adverts,
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// What the router has counted, as last published.
    #[must_use]
    pub fn adverts(&self) -> router::Statistics {
        self.adverts.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    fn troubles(&self) -> Troubles {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Troubles {
            malformed: get(&self.malformed),
            send_errors: get(&self.send_errors),
            missed: get(&self.missed),
            dropped: get(&self.dropped_tellings),
            unsaved: get(&self.snapshot_errors),
        }
    }
}

/// What should not happen, counted since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Troubles {
    malformed: u64,
    send_errors: u64,
    missed: u64,
    dropped: u64,
    unsaved: u64,
}

/// Logs what should not have happened, at most once a minute. For an ordinary thread: a log may block.
#[derive(Debug, Default)]
pub struct Report {
    told: Troubles,
    next: Instant,
}

impl Report {
    /// Looks at the counters; logs them if they have grown and a minute has passed. Whether it did.
    pub fn look(&mut self, now: Instant, statistics: &Statistics) -> bool {
        let troubles = statistics.troubles();
        if troubles == self.told || now < self.next {
            return false;
        }
        let Troubles { malformed, send_errors, missed, dropped, unsaved } = troubles;
        let received = statistics.received.load(Ordering::Relaxed);
        tracing::warn!(
            malformed,
            send_errors,
            missed_deadlines = missed,
            dropped_notices = dropped,
            unsaved_states = unsaved,
            received,
            "VRRP has had trouble since the agent started"
        );
        self.told = troubles;
        self.next = now + REPORT;
        true
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
    #[test]
    fn trouble_is_told_when_it_grows_and_at_most_once_a_minute() {
        let (statistics, mut report) = (Statistics::default(), Report::default());
        let start = Instant::from_nanos(1);
        assert!(!report.look(start, &statistics));
        statistics.send_error();
        assert!(report.look(start, &statistics));
        statistics.missed();
        assert!(!report.look(start + Duration::from_secs(59), &statistics));
        assert!(report.look(start + Duration::from_secs(60), &statistics));
        assert!(!report.look(start + Duration::from_secs(200), &statistics));
        statistics.received();
        assert!(!report.look(start + Duration::from_secs(300), &statistics));
    }
}
