//! A cluster of 2 to 5 routers in virtual time, seeded, with its invariants checked at every step.
//!
//! - **Two Masters** that can hear each other coexist only until the next advert of the better one (priority, then
//!   address) can have arrived, and never after it did.
//! - **Early**: nobody becomes Master before the moment that what it received allows, to the nanosecond.
//! - **Late**: a Backup takes over, and a Master adverts, when it is due.
//! - **Packets**: every advert has its cause (takeover, interval, farewell heard, rival heard, leaving,
//!   resuming), one advert each.
//! - **Commands**: a Master told to yield says farewell and holds the addresses until it has heard another for 200 ms,
//!   or for three intervals and its skew; who is told to take over does it at once. In a calm, somebody holds the
//!   addresses at every moment of it.
//! - **Calm**: when all faults end, one Master holds within a bound, and then nothing changes any more.

mod rng;
mod watch;
mod world;

use core::time::Duration;

use bascule_core::vrrp::{Peer, Rfc9568, Rules};

use world::{Tally, Violation, World};

/// Intervals that one cluster lives.
const LIFE: u32 = 4_000;

#[test]
fn a_thousand_hours_of_cluster_life_break_no_invariant() {
    let mut tally = Tally::default();
    let mut clusters = 0;
    while tally.virtual_time < Duration::from_secs(1_000 * 3_600) {
        match World::<Rfc9568>::new(clusters).run(LIFE) {
            Ok(run) => tally.add(&run),
            Err(violation) => panic!("{violation}\n{}", World::<Rfc9568>::explain(clusters, LIFE)),
        }
        clusters += 1;
    }
    let hours = tally.virtual_time.as_secs() / 3_600;
    println!("{hours} virtual hours of {clusters} clusters: {tally:?}");
    // The storms were storms.
    assert!(tally.takeovers > 1_000 && tally.overlaps > 500, "{tally:?}");
    assert!(tally.commands > 10_000 && tally.handovers > 1_000, "{tally:?}");
    assert!(tally.resumed_masters > 100 && tally.lost > 10_000, "{tally:?}");
}

/// The first of a bounded number of clusters in which a wrong rule is noticed.
fn noticed<R: Rules>() -> Option<Violation> {
    (0..40).find_map(|seed| World::<R>::new(seed).run(LIFE).err())
}

/// A wrong rule is noticed, and as what it is.
fn assert_noticed<R: Rules>(as_what: &str) {
    let violation = noticed::<R>().expect("this mutant lives");
    println!("{violation}");
    assert!(violation.what.contains(as_what), "{violation}");
}

#[test]
fn a_skew_truncated_to_milliseconds_is_noticed() {
    struct Truncated;
    impl Rules for Truncated {
        fn skew(priority: u8, interval: Duration) -> Duration {
            Duration::from_millis(Rfc9568::skew(priority, interval).as_millis() as u64)
        }
    }
    assert_noticed::<Truncated>("early");
}

#[test]
fn a_skew_of_whole_units_only_is_noticed() {
    struct Integer;
    impl Rules for Integer {
        fn skew(priority: u8, interval: Duration) -> Duration {
            interval * ((256 - u32::from(priority)) / 256)
        }
    }
    assert_noticed::<Integer>("early");
}

#[test]
fn two_missed_intervals_for_three_are_noticed() {
    struct Two;
    impl Rules for Two {
        fn master_down(priority: u8, interval: Duration) -> Duration {
            interval * 2 + Self::skew(priority, interval)
        }
    }
    assert_noticed::<Two>("early");
}

#[test]
fn four_missed_intervals_for_three_are_noticed() {
    struct Four;
    impl Rules for Four {
        fn master_down(priority: u8, interval: Duration) -> Duration {
            interval * 4 + Self::skew(priority, interval)
        }
    }
    assert_noticed::<Four>("late");
}

#[test]
fn a_missing_tie_break_is_noticed() {
    struct NoTieBreak;
    impl Rules for NoTieBreak {
        fn outranks(theirs: Peer, ours: Peer) -> bool {
            theirs.priority > ours.priority
        }
    }
    assert_noticed::<NoTieBreak>("two Masters");
}

#[test]
fn a_tie_break_the_wrong_way_round_is_noticed() {
    struct LowerAddress;
    impl Rules for LowerAddress {
        fn outranks(theirs: Peer, ours: Peer) -> bool {
            (theirs.priority, ours.address) > (ours.priority, theirs.address)
        }
    }
    assert!(noticed::<LowerAddress>().is_some());
}

#[test]
fn preemption_that_was_switched_off_and_happens_is_noticed() {
    struct AlwaysPreempts;
    impl Rules for AlwaysPreempts {
        fn may_preempt(_: bool) -> bool {
            true
        }
    }
    assert_noticed::<AlwaysPreempts>("early");
}

#[test]
fn preemption_that_was_switched_on_and_does_not_happen_is_noticed() {
    struct NeverPreempts;
    impl Rules for NeverPreempts {
        fn may_preempt(_: bool) -> bool {
            false
        }
    }
    assert_noticed::<NeverPreempts>("late");
}
