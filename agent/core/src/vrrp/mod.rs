//! One VRRPv3 virtual router (RFC 9568 section 6): its settings, its rules and its state machine.

mod handover;
mod machine;
mod state;

use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::model::AdvertInterval;
use crate::net::{Family, IfName, Name, Priority, Vrid};
use crate::time::Instant;

pub use handover::LINGER;
pub use machine::{Event, Output, Outputs, VirtualRouter};
pub use state::{Aside, Backup, Lingering, Master, State, Yielding};

/// What a virtual router is configured to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Name.
    pub name: Name,
    /// Interface of the adverts.
    pub interface: IfName,
    /// Identifier.
    pub vrid: Vrid,
    /// Family of all its addresses.
    pub family: Family,
    /// Priority.
    pub priority: Priority,
    /// Own advertisement interval.
    pub interval: AdvertInterval,
    /// Whether a higher priority preempts.
    pub preempt: bool,
    /// Wait before preempting, from the first advert of a lower-priority Master. Zero preempts at once.
    pub preempt_delay: Duration,
    /// Virtual addresses and the interface of each, in configured order (the order on the wire).
    pub addresses: Vec<(IfName, IpAddr)>,
    /// Send IPv4 checksums without pseudo-header.
    pub checksum_as_v2: bool,
    /// What an operator told it.
    pub stance: Stance,
}

/// What an operator told a virtual router beside its configuration. An owner (priority 255) is told nothing.
///
/// It is a level like all settings: a command that is repeated differs in `told`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stance {
    /// Nothing: priority and preemption decide.
    #[default]
    Normal,
    /// Another box is to be Master; this one does not preempt, but takes over when that one dies.
    Yield {
        /// When the command came.
        told: Instant,
    },
    /// To be Master at once, at the highest priority that is not an owner's.
    Takeover {
        /// When the command came.
        told: Instant,
    },
    /// Another box is to be Master; this one never is, whatever happens.
    Aside {
        /// When the command came.
        told: Instant,
    },
}

/// Which virtual router it is on the network. Changing any of it makes another virtual router.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Interface of the adverts.
    pub interface: IfName,
    /// Family.
    pub family: Family,
    /// Identifier.
    pub vrid: Vrid,
}

impl Settings {
    /// Its identity on the network.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { interface: self.interface.clone(), family: self.family, vrid: self.vrid }
    }
}

/// How many of the Master's intervals pass without an advert before it counts as down (RFC 9568 section 6.1).
pub const MISSED_ADVERTS: u32 = 3;

/// The formulas and comparisons of RFC 9568 that the state machine rests on.
///
/// A box runs `Rfc9568`. The methods can be replaced one by one so that a test can show that a wrong
/// rule is noticed.
pub trait Rules {
    /// Skew time: the lower the priority, the longer, below one `interval` (RFC 9568 section 6.1).
    #[must_use]
    fn skew(priority: u8, interval: Duration) -> Duration {
        interval * (256 - u32::from(priority)) / 256
    }

    /// Time without an advert after which a Backup takes over (RFC 9568 section 6.1).
    #[must_use]
    fn master_down(priority: u8, interval: Duration) -> Duration {
        interval * MISSED_ADVERTS + Self::skew(priority, interval)
    }

    /// Whether a Master yields to an advert: a higher priority does it, then the higher primary address
    /// (RFC 9568 section 6.4.3).
    #[must_use]
    fn outranks(theirs: Peer, ours: Peer) -> bool {
        (theirs.priority, theirs.address) > (ours.priority, ours.address)
    }

    /// Whether a Backup may let a lower-priority Master time out (RFC 9568 section 6.4.2).
    #[must_use]
    fn may_preempt(configured: bool) -> bool {
        configured
    }
}

/// RFC 9568 as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rfc9568;

impl Rules for Rfc9568 {}

/// A VRRP router as seen in its adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Priority, 0 to 255.
    pub priority: u8,
    /// Primary address.
    pub address: IpAddr,
}

/// What a virtual router has counted since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Adverts sent, those of priority 0 included.
    pub sent: u64,
    /// Adverts received and not refused, those of priority 0 included.
    pub received: u64,
    /// Adverts of priority 0 sent.
    pub leaving_sent: u64,
    /// Adverts of priority 0 received.
    pub leaving_received: u64,
    /// Times it became Master.
    pub became_master: u64,
    /// Adverts of a lower rank heard as Master: another box was Master too.
    pub rivals: u64,
    /// Adverts with another interval than ours.
    pub interval_differs: u64,
    /// Adverts with other addresses than ours.
    pub addresses_differ: u64,
    /// Own adverts that left later than a whole interval after their deadline.
    pub late: u64,
}

/// One virtual router as it was when its agent died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// Which it was, so that a changed configuration does not resume the wrong thing.
    pub identity: Identity,
    /// When it had entered its state.
    pub since: Instant,
    /// What it was.
    pub state: Survival,
}

/// State of a `Survivor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Survival {
    /// It held the addresses.
    Master {
        /// When it last sent an advert.
        last_advert: Instant,
        /// The interval in that advert.
        interval: Duration,
    },
    /// It waited.
    Backup {
        /// When it would have taken over.
        down: Instant,
        /// Interval of the Master it followed.
        interval: Duration,
        /// That Master.
        master: Option<Peer>,
    },
    /// It stood aside.
    Aside {
        /// The Master that it heard.
        master: Option<Peer>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_and_master_down_have_the_golden_values() {
        for (priority, millis, skew_us, down_us) in [
            (100, 1_000, 609_375, 3_609_375),
            (100, 250, 152_343, 902_343),
            (254, 100, 781, 300_781),
            (100, 10, 6_093, 36_093),
            (255, 1_000, 3_906, 3_003_906),
            (1, 1_000, 996_093, 3_996_093),
        ] {
            let interval = Duration::from_millis(millis);
            assert_eq!(Rfc9568::skew(priority, interval).as_micros(), skew_us);
            assert_eq!(Rfc9568::master_down(priority, interval).as_micros(), down_us);
        }
    }

    #[test]
    fn skew_is_exact_to_the_nanosecond() {
        for priority in 0..=u8::MAX {
            for centis in [1_u64, 3, 25, 100, 4_095] {
                let exact = u128::from(centis) * 10_000_000 * (256 - u128::from(priority)) / 256;
                assert_eq!(Rfc9568::skew(priority, Duration::from_millis(centis * 10)).as_nanos(), exact);
            }
        }
    }

    #[test]
    fn rank_is_priority_then_address_and_nobody_outranks_itself() {
        let peer = |priority, last| Peer { priority, address: IpAddr::from([10, 0, 0, last]) };
        assert!(Rfc9568::outranks(peer(101, 1), peer(100, 2)));
        assert!(!Rfc9568::outranks(peer(100, 2), peer(101, 1)));
        assert!(Rfc9568::outranks(peer(100, 200), peer(100, 3)));
        assert!(!Rfc9568::outranks(peer(100, 3), peer(100, 200)));
        assert!(!Rfc9568::outranks(peer(100, 3), peer(100, 3)));
    }
}
