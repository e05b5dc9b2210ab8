//! When to repeat an announcement. One frame may be lost while switches still learn, so each address is announced
//! five times within a second; the first goes out with the address itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bascule_core::net::IfName;
use bascule_core::time::Instant;

/// When the repetitions go out, after the first.
const OFFSETS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1_000),
];

/// Announcements to come.
#[derive(Debug, Default)]
pub struct Repeats {
    due: BTreeMap<Instant, Vec<(IfName, IpAddr)>>,
}

impl Repeats {
    /// The first announcement of `address` has just gone out.
    pub fn begin(&mut self, now: Instant, interface: &IfName, address: IpAddr) {
        for offset in OFFSETS {
            self.due.entry(now + offset).or_default().push((interface.clone(), address));
        }
    }

    /// When the next one is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.due.keys().next().copied()
    }

    /// Takes those that are due.
    pub fn take(&mut self, now: Instant) -> Vec<(IfName, IpAddr)> {
        let later = self.due.split_off(&(now + Duration::from_nanos(1)));
        std::mem::replace(&mut self.due, later).into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_repetitions_follow_within_a_second_each_once() {
        let (eth0, address) = ("eth0".parse().expect("a name"), IpAddr::from([10, 0, 0, 1]));
        let mut repeats = Repeats::default();
        assert_eq!(repeats.next(), None);
        let start = Instant::from_nanos(5);
        repeats.begin(start, &eth0, address);
        let mut seen = Vec::new();
        while let Some(next) = repeats.next() {
            assert_eq!(repeats.take(Instant::from_nanos(next.as_nanos() - 1)), []);
            assert_eq!(repeats.take(next), [(eth0.clone(), address)]);
            seen.push(next.since(start).as_millis());
        }
        assert_eq!(seen, [100, 250, 500, 1_000]);
    }

    #[test]
    fn what_was_missed_is_taken_at_once() {
        let eth0 = "eth0".parse().expect("a name");
        let mut repeats = Repeats::default();
        repeats.begin(Instant::ZERO, &eth0, [10, 0, 0, 1].into());
        repeats.begin(Instant::ZERO, &eth0, [10, 0, 0, 2].into());
        assert_eq!(repeats.take(Instant::ZERO + Duration::from_millis(600)).len(), 6);
        assert_eq!(repeats.take(Instant::ZERO + Duration::from_secs(9)).len(), 2);
    }
}
