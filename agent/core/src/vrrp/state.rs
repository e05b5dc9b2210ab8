//! The states of a virtual router, with the deadlines that exist in each.

use core::net::IpAddr;
use core::time::Duration;

use super::{MISSED_ADVERTS, Peer};
use crate::time::Instant;

/// When the addresses are announced once more after taking over: switches and hosts may have been deaf at
/// that moment.
pub(super) const ANNOUNCE_AGAIN: Duration = Duration::from_secs(5);
/// Rounds of one such burst.
pub(super) const ANNOUNCE_ROUNDS: u8 = 5;
/// Time between two rounds, so that they share no burst of loss and do not delay adverts.
pub(super) const ANNOUNCE_GAP: Duration = Duration::from_millis(100);

/// State, with the deadlines that exist in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Taking no part.
    Initialize,
    /// Waiting for the Master to fail.
    Backup(Backup),
    /// Holding the addresses.
    Master(Master),
    /// Holding the addresses and asking others to take over.
    Yielding(Yielding),
    /// Still answering for a moment, while another has become Master.
    Lingering(Lingering),
    /// Hearing what goes on, and never Master.
    Aside(Aside),
}

/// A Backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Own primary address.
    pub address: IpAddr,
    /// When it takes over.
    pub down: Instant,
    /// Interval in force: the Master's, or its own before it heard one.
    pub interval: Duration,
    /// The Master last heard.
    pub master: Option<Peer>,
    /// Since when, or from when, adverts of a lower priority are ignored, if a wait was begun.
    pub preempt_at: Option<Instant>,
}

/// A Master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// Own primary address.
    pub address: IpAddr,
    /// When the next advert is due.
    pub advert: Instant,
    /// When the last one left.
    pub sent: Instant,
    /// The interval in the last one: what peers reckon with.
    pub told: Duration,
    /// When it last answered a rival at once.
    pub answered: Option<Instant>,
    /// When the next round of announcements is due, and how many rounds are left.
    pub announce: Option<(Instant, u8)>,
    /// When a rival last led to a burst of announcements.
    pub repaired: Option<Instant>,
}

impl Master {
    /// Just become or resumed, with an advert sent.
    pub(super) fn new(now: Instant, address: IpAddr, interval: Duration) -> Self {
        Self {
            address,
            advert: now + interval,
            sent: now,
            told: interval,
            answered: None,
            announce: Some((now + ANNOUNCE_AGAIN, ANNOUNCE_ROUNDS)),
            repaired: None,
        }
    }

    /// Whether the last advert is so old that a peer may have taken over.
    pub(super) fn lapsed(&self, now: Instant) -> bool {
        now.since(self.sent) >= self.told * MISSED_ADVERTS
    }

    /// Starts a burst of announcements now, unless one runs or the last is too recent. Returns whether.
    pub(super) fn repair(&mut self, now: Instant) -> bool {
        let running = self.announce.is_some_and(|(_, left)| left < ANNOUNCE_ROUNDS);
        let recent = self.repaired.is_some_and(|at| now.since(at) < ANNOUNCE_AGAIN);
        if running || recent {
            return false;
        }
        self.repaired = Some(now);
        self.announce = Some((now + ANNOUNCE_GAP, ANNOUNCE_ROUNDS - 1));
        true
    }
}

/// A Master that hands over: it says farewell (priority 0) every interval, so that any Backup takes over after its
/// skew, whatever the priorities, and keeps the addresses until one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Yielding {
    /// Own primary address.
    pub address: IpAddr,
    /// When the next farewell is due.
    pub advert: Instant,
    /// When the last one left.
    pub sent: Instant,
    /// When it gives up.
    pub until: Instant,
}

/// It has handed over and keeps the addresses until the new Master surely has them: who takes over sends its advert
/// first and sets its addresses then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lingering {
    /// Own primary address.
    pub address: IpAddr,
    /// When the addresses go.
    pub until: Instant,
    /// When the new Master was last heard.
    pub heard: Instant,
    /// Its interval.
    pub interval: Duration,
    /// The new Master.
    pub master: Peer,
}

/// Out of it while the operator wants it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Own primary address.
    pub address: IpAddr,
    /// The Master last heard, until it said farewell.
    pub master: Option<Peer>,
}
