//! The state machine of one virtual router: the whole transition table, then every deadline to the nanosecond.

use core::net::IpAddr;
use core::time::Duration;

use bascule_core::config::model::AdvertInterval;
use bascule_core::net::{Family, Priority, Vrid};
use bascule_core::notice::Notice;
use bascule_core::time::Instant;
use bascule_core::vrrp::{Event, Output, Rfc9568, Rules, Settings, Stance, State, VirtualRouter};
use bascule_core::wire::vrrp::Advert;

const OWN: [u8; 4] = [10, 0, 0, 5];
const SECOND: Duration = Duration::from_secs(1);
const HALF: Duration = Duration::from_millis(500);

fn at(micros: u64) -> Instant {
    Instant::ZERO + Duration::from_micros(micros)
}

fn settings(priority: u32, preempt: bool) -> Settings {
    Settings {
        name: "front".parse().expect("a name"),
        interface: "eth0".parse().expect("an interface name"),
        vrid: Vrid::MIN,
        family: Family::V4,
        priority: Priority::new(priority).expect("1 to 255"),
        interval: AdvertInterval::from_centis(100).expect("1 to 4095"),
        preempt,
        preempt_delay: Duration::ZERO,
        addresses: vec![("eth0".parse().expect("an interface name"), IpAddr::from([192, 0, 2, 1]))],
        checksum_as_v2: false,
        stance: Stance::Normal,
    }
}

fn advert(priority: u8, interval: Duration, last: u8) -> Event {
    Event::Advert(Advert { vrid: Vrid::MIN, priority, interval }, IpAddr::from([10, 0, 0, last]))
}

fn up() -> Event {
    Event::Up(OWN.into())
}

type Machine = VirtualRouter<Rfc9568>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Initialize,
    Backup,
    Master,
    Yielding,
    Lingering,
    Aside,
}

const KINDS: [Kind; 6] =
    [Kind::Initialize, Kind::Backup, Kind::Master, Kind::Yielding, Kind::Lingering, Kind::Aside];

fn kind(machine: &Machine) -> Kind {
    match machine.state() {
        State::Initialize => Kind::Initialize,
        State::Backup(_) => Kind::Backup,
        State::Master(_) => Kind::Master,
        State::Yielding(_) => Kind::Yielding,
        State::Lingering(_) => Kind::Lingering,
        State::Aside(_) => Kind::Aside,
    }
}

/// Every class of event that the machine distinguishes. All adverts have an interval of half a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Up,
    Down,
    Leave,
    TimerEarly,
    TimerDue,
    TimerLate,
    AdvertLeaving,
    AdvertLower,
    AdvertEqualLowerAddress,
    AdvertEqualHigherAddress,
    AdvertHigher,
    AdvertOwner,
    ConfigureSame,
    ConfigurePriority150,
    ConfigureOwner,
    ConfigureShortInterval,
    ConfigureLongInterval,
    ConfigureNormal,
    ConfigureYield,
    ConfigureTakeover,
    ConfigureAside,
}

const CLASSES: [Class; 21] = [
    Class::Up,
    Class::Down,
    Class::Leave,
    Class::TimerEarly,
    Class::TimerDue,
    Class::TimerLate,
    Class::AdvertLeaving,
    Class::AdvertLower,
    Class::AdvertEqualLowerAddress,
    Class::AdvertEqualHigherAddress,
    Class::AdvertHigher,
    Class::AdvertOwner,
    Class::ConfigureSame,
    Class::ConfigurePriority150,
    Class::ConfigureOwner,
    Class::ConfigureShortInterval,
    Class::ConfigureLongInterval,
    Class::ConfigureNormal,
    Class::ConfigureYield,
    Class::ConfigureTakeover,
    Class::ConfigureAside,
];

/// What a machine of this kind was told before.
fn stance(kind: Kind) -> Stance {
    let told = at(TOLD);
    match kind {
        Kind::Initialize | Kind::Backup | Kind::Master => Stance::Normal,
        Kind::Yielding | Kind::Lingering => Stance::Yield { told },
        Kind::Aside => Stance::Aside { told },
    }
}

fn event(kind: Kind, class: Class, preempt: bool) -> Event {
    let settings = |priority, preempt| Settings { stance: stance(kind), ..settings(priority, preempt) };
    let interval = |centis| Settings {
        interval: AdvertInterval::from_centis(centis).expect("1 to 4095"),
        ..settings(100, preempt)
    };
    let told = |stance, priority| Event::Configure(Settings { stance, ..settings(priority, preempt) });
    match class {
        Class::Up => up(),
        Class::Down => Event::Down,
        Class::Leave => Event::Leave,
        Class::TimerEarly | Class::TimerDue | Class::TimerLate => Event::Timer,
        Class::AdvertLeaving => advert(0, HALF, 9),
        Class::AdvertLower => advert(99, HALF, 9),
        Class::AdvertEqualLowerAddress => advert(100, HALF, 1),
        Class::AdvertEqualHigherAddress => advert(100, HALF, 9),
        Class::AdvertHigher => advert(101, HALF, 1),
        Class::AdvertOwner => advert(255, HALF, 1),
        Class::ConfigureSame => Event::Configure(settings(100, preempt)),
        Class::ConfigurePriority150 => Event::Configure(settings(150, preempt)),
        Class::ConfigureOwner => Event::Configure(settings(255, preempt)),
        Class::ConfigureShortInterval => Event::Configure(interval(10)),
        Class::ConfigureLongInterval => Event::Configure(interval(1_000)),
        Class::ConfigureNormal => told(Stance::Normal, 100),
        Class::ConfigureYield => told(Stance::Yield { told: at(NOW) }, 100),
        Class::ConfigureTakeover => told(Stance::Takeover { told: at(NOW) }, 254),
        Class::ConfigureAside => told(Stance::Aside { told: at(NOW) }, 100),
    }
}

/// A machine in a state, with its deadline.
///
/// Backup: started at 0, heard priority 150 every 2 s at 1 s, so it takes over at 8.21875 s.
/// Master: took over at 3.609375 s, so it adverts at 4.609375 s.
/// Yielding: the same, told at 3.7 s, so it says farewell again at 4.7 s and gives up at 7.309375 s.
/// Lingering: the same, heard another every half second at 3.9 s, so it steps back at 4.1 s.
/// Aside: the Backup, told at 3.7 s.
fn machine(kind: Kind, preempt: bool) -> Machine {
    let mut machine = Machine::new(settings(100, preempt));
    match kind {
        Kind::Initialize => {}
        Kind::Backup => {
            machine.handle(at(0), up());
            machine.handle(at(1_000_000), advert(150, 2 * SECOND, 1));
        }
        Kind::Master => {
            machine.handle(at(0), up());
            machine.handle(at(3_609_375), Event::Timer);
        }
        Kind::Yielding => {
            machine = self::machine(Kind::Master, preempt);
            let told = Settings { stance: stance(kind), ..settings(100, preempt) };
            machine.handle(at(TOLD), Event::Configure(told));
        }
        Kind::Lingering => {
            machine = self::machine(Kind::Yielding, preempt);
            machine.handle(at(HEARD), advert(99, HALF, 9));
        }
        Kind::Aside => {
            machine = self::machine(Kind::Backup, preempt);
            let told = Settings { stance: stance(kind), ..settings(100, preempt) };
            machine.handle(at(TOLD), Event::Configure(told));
        }
    }
    machine
}

const BACKUP_DOWN: u64 = 8_218_750;
const MASTER_NEXT: u64 = 4_609_375;
const TOLD: u64 = 3_700_000;
const HEARD: u64 = 3_900_000;
const YIELDING_NEXT: u64 = 4_700_000;
const LINGERING_END: u64 = 4_100_000;
/// When the event happens, unless it is a timer.
const NOW: u64 = 4_000_000;

fn moment(kind: Kind, class: Class) -> Instant {
    let due = match kind {
        Kind::Initialize | Kind::Aside => NOW,
        Kind::Backup => BACKUP_DOWN,
        Kind::Master => MASTER_NEXT,
        Kind::Yielding => YIELDING_NEXT,
        Kind::Lingering => LINGERING_END,
    };
    match class {
        Class::TimerEarly => at(due) - Duration::from_nanos(1),
        Class::TimerDue => at(due),
        Class::TimerLate => at(due) + 30 * SECOND,
        Class::Up
        | Class::Down
        | Class::Leave
        | Class::AdvertLeaving
        | Class::AdvertLower
        | Class::AdvertEqualLowerAddress
        | Class::AdvertEqualHigherAddress
        | Class::AdvertHigher
        | Class::AdvertOwner
        | Class::ConfigureSame
        | Class::ConfigurePriority150
        | Class::ConfigureOwner
        | Class::ConfigureShortInterval
        | Class::ConfigureLongInterval
        | Class::ConfigureNormal
        | Class::ConfigureYield
        | Class::ConfigureTakeover
        | Class::ConfigureAside => at(NOW),
    }
}

/// What must come of it: the state, the priorities of the adverts sent, the rounds of announcements, and the
/// next deadline in microseconds.
type Expected = (Kind, &'static [u8], usize, Option<u64>);

fn expected(kind: Kind, class: Class, preempt: bool) -> Expected {
    match kind {
        Kind::Initialize => from_initialize(class),
        Kind::Backup => from_backup(class, preempt),
        Kind::Master => from_master(class),
        Kind::Yielding => from_yielding(class),
        Kind::Lingering => from_lingering(class),
        Kind::Aside => from_aside(class),
    }
}

fn from_initialize(class: Class) -> Expected {
    match class {
        // Master-down of its own interval: 3 s + 609,375 us.
        Class::Up => (Kind::Backup, &[], 0, Some(NOW + 3_609_375)),
        Class::Down
        | Class::Leave
        | Class::TimerEarly
        | Class::TimerDue
        | Class::TimerLate
        | Class::AdvertLeaving
        | Class::AdvertLower
        | Class::AdvertEqualLowerAddress
        | Class::AdvertEqualHigherAddress
        | Class::AdvertHigher
        | Class::AdvertOwner
        | Class::ConfigureSame
        | Class::ConfigurePriority150
        | Class::ConfigureOwner
        | Class::ConfigureShortInterval
        | Class::ConfigureLongInterval
        | Class::ConfigureNormal
        | Class::ConfigureYield
        | Class::ConfigureTakeover
        | Class::ConfigureAside => (Kind::Initialize, &[], 0, None),
    }
}

fn from_backup(class: Class, preempt: bool) -> Expected {
    let stay = (Kind::Backup, &[][..], 0, Some(BACKUP_DOWN));
    // Three half seconds and a skew of 156/256 of one.
    let heed = (Kind::Backup, &[][..], 0, Some(NOW + 1_500_000 + 304_687));
    match class {
        Class::Up | Class::TimerEarly | Class::ConfigureSame => stay,
        Class::Down | Class::Leave => (Kind::Initialize, &[], 0, None),
        Class::TimerDue => (Kind::Master, &[100], 0, Some(BACKUP_DOWN + 1_000_000)),
        Class::TimerLate => (Kind::Master, &[100], 0, Some(BACKUP_DOWN + 31_000_000)),
        // The skew of the interval in force, 2 s.
        Class::AdvertLeaving => (Kind::Backup, &[], 0, Some(NOW + 1_218_750)),
        Class::AdvertLower if preempt => stay,
        Class::AdvertLower
        | Class::AdvertEqualLowerAddress
        | Class::AdvertEqualHigherAddress
        | Class::AdvertHigher
        | Class::AdvertOwner => heed,
        // The skew of 2 s shrinks from 156/256 to 106/256.
        Class::ConfigurePriority150 => (Kind::Backup, &[], 0, Some(BACKUP_DOWN - 390_625)),
        Class::ConfigureOwner => (Kind::Master, &[255], 0, Some(NOW + 1_000_000)),
        // The Master's interval is in force, not its own.
        Class::ConfigureShortInterval | Class::ConfigureLongInterval => stay,
        // There is room for one advert of that Master anyway.
        Class::ConfigureNormal | Class::ConfigureYield => stay,
        Class::ConfigureTakeover => (Kind::Master, &[254], 0, Some(NOW + 1_000_000)),
        Class::ConfigureAside => (Kind::Aside, &[], 0, None),
    }
}

fn from_master(class: Class) -> Expected {
    let stay = (Kind::Master, &[][..], 0, Some(MASTER_NEXT));
    // Asserts itself at once and announces; the next round is due in 100 ms, the next advert as before.
    let assert = (Kind::Master, &[100][..], 1, Some(NOW + 100_000));
    let yields = (Kind::Backup, &[][..], 0, Some(NOW + 1_500_000 + 304_687));
    match class {
        Class::Up | Class::TimerEarly => stay,
        Class::Down => (Kind::Initialize, &[], 0, None),
        Class::Leave => (Kind::Initialize, &[0], 0, None),
        Class::TimerDue => (Kind::Master, &[100], 0, Some(MASTER_NEXT + 1_000_000)),
        // One advert; the announcements that were due at 8.6 s also come, the next round in 100 ms.
        Class::TimerLate => (Kind::Master, &[100], 1, Some(MASTER_NEXT + 30_100_000)),
        Class::AdvertLeaving => (Kind::Master, &[100], 0, Some(NOW + 1_000_000)),
        Class::AdvertLower | Class::AdvertEqualLowerAddress => assert,
        Class::AdvertEqualHigherAddress | Class::AdvertHigher | Class::AdvertOwner => yields,
        Class::ConfigureSame
        | Class::ConfigurePriority150
        | Class::ConfigureOwner
        | Class::ConfigureLongInterval
        | Class::ConfigureNormal
        | Class::ConfigureTakeover => stay,
        Class::ConfigureShortInterval => (Kind::Master, &[], 0, Some(NOW + 100_000)),
        Class::ConfigureYield | Class::ConfigureAside => (Kind::Yielding, &[0], 0, Some(NOW + 1_000_000)),
    }
}

fn from_yielding(class: Class) -> Expected {
    let stay = (Kind::Yielding, &[][..], 0, Some(YIELDING_NEXT));
    let again = (Kind::Yielding, &[0][..], 0, Some(NOW + 1_000_000));
    // Whatever its priority, another is Master; the addresses stay for 200 ms.
    let heard = (Kind::Lingering, &[][..], 0, Some(NOW + 200_000));
    match class {
        Class::Up | Class::TimerEarly => stay,
        Class::Down => (Kind::Initialize, &[], 0, None),
        Class::Leave => (Kind::Initialize, &[0], 0, None),
        Class::TimerDue => (Kind::Yielding, &[0], 0, Some(YIELDING_NEXT + 1_000_000)),
        // Nobody took over within 3 s + 609,375 us of the command.
        Class::TimerLate => (Kind::Master, &[100], 0, Some(YIELDING_NEXT + 31_000_000)),
        Class::AdvertLeaving => stay,
        Class::AdvertLower
        | Class::AdvertEqualLowerAddress
        | Class::AdvertEqualHigherAddress
        | Class::AdvertHigher
        | Class::AdvertOwner => heard,
        Class::ConfigureSame | Class::ConfigurePriority150 | Class::ConfigureLongInterval => stay,
        Class::ConfigureShortInterval => (Kind::Yielding, &[], 0, Some(NOW + 100_000)),
        Class::ConfigureOwner => (Kind::Master, &[255], 0, Some(NOW + 1_000_000)),
        Class::ConfigureNormal => (Kind::Master, &[100], 0, Some(NOW + 1_000_000)),
        Class::ConfigureTakeover => (Kind::Master, &[254], 0, Some(NOW + 1_000_000)),
        Class::ConfigureYield | Class::ConfigureAside => again,
    }
}

fn from_lingering(class: Class) -> Expected {
    let stay = (Kind::Lingering, &[][..], 0, Some(LINGERING_END));
    match class {
        Class::Up | Class::TimerEarly => stay,
        Class::Down | Class::Leave => (Kind::Initialize, &[], 0, None),
        // Heard at 3.9 s; three half seconds and a skew of 156/256 of one.
        Class::TimerDue => (Kind::Backup, &[], 0, Some(HEARD + 1_500_000 + 304_687)),
        // The new Master is down by then, and the addresses are still here: they are announced.
        Class::TimerLate => (Kind::Master, &[100], 1, Some(LINGERING_END + 30_100_000)),
        Class::AdvertLeaving => (Kind::Backup, &[], 0, Some(NOW + 304_687)),
        Class::AdvertLower
        | Class::AdvertEqualLowerAddress
        | Class::AdvertEqualHigherAddress
        | Class::AdvertHigher
        | Class::AdvertOwner => stay,
        Class::ConfigureSame
        | Class::ConfigurePriority150
        | Class::ConfigureShortInterval
        | Class::ConfigureLongInterval
        | Class::ConfigureNormal
        | Class::ConfigureYield
        | Class::ConfigureAside => stay,
        Class::ConfigureOwner => (Kind::Master, &[255], 1, Some(NOW + 100_000)),
        Class::ConfigureTakeover => (Kind::Master, &[254], 1, Some(NOW + 100_000)),
    }
}

fn from_aside(class: Class) -> Expected {
    match class {
        Class::Down | Class::Leave => (Kind::Initialize, &[], 0, None),
        Class::Up
        | Class::TimerEarly
        | Class::TimerDue
        | Class::TimerLate
        | Class::AdvertLeaving
        | Class::AdvertLower
        | Class::AdvertEqualLowerAddress
        | Class::AdvertEqualHigherAddress
        | Class::AdvertHigher
        | Class::AdvertOwner
        | Class::ConfigureSame
        | Class::ConfigurePriority150
        | Class::ConfigureShortInterval
        | Class::ConfigureLongInterval
        | Class::ConfigureAside => (Kind::Aside, &[], 0, None),
        Class::ConfigureOwner => (Kind::Master, &[255], 0, Some(NOW + 1_000_000)),
        // As at a start: a whole master-down interval.
        Class::ConfigureNormal | Class::ConfigureYield => (Kind::Backup, &[], 0, Some(NOW + 3_609_375)),
        Class::ConfigureTakeover => (Kind::Backup, &[], 0, Some(NOW + 3_007_812)),
    }
}

#[test]
fn every_state_answers_every_event_as_the_table_says() {
    let mut rows = 0;
    for kind_before in KINDS {
        for class in CLASSES {
            for preempt in [true, false] {
                let mut machine = machine(kind_before, preempt);
                let outputs = machine.handle(moment(kind_before, class), event(kind_before, class, preempt));
                let adverts: Vec<u8> = outputs.iter().filter_map(priority).collect();
                let announcements = outputs.iter().filter(|o| **o == Output::Announce).count();
                let deadline = machine.deadline().map(|d| d.as_nanos() / 1_000);
                let (kind_after, sent, announced, next) = expected(kind_before, class, preempt);
                assert_eq!(
                    (kind(&machine), &adverts[..], announcements, deadline),
                    (kind_after, sent, announced, next),
                    "{kind_before:?} x {class:?}, preempt {preempt}"
                );
                rows += 1;
            }
        }
    }
    assert_eq!(rows, KINDS.len() * CLASSES.len() * 2);
}

#[test]
fn every_event_may_come_twice_without_a_second_effect_on_the_state() {
    for kind_before in KINDS {
        for class in CLASSES {
            let mut machine = machine(kind_before, true);
            let now = moment(kind_before, class);
            machine.handle(now, event(kind_before, class, true));
            let (after, deadline) = (kind(&machine), machine.deadline());
            let again = machine.handle(now, event(kind_before, class, true));
            assert_eq!(
                (kind(&machine), machine.deadline()),
                (after, deadline),
                "{kind_before:?} x {class:?}"
            );
            // Only a repeated farewell is answered again: others may have heard only this one.
            let adverts = again.iter().filter_map(priority).count();
            let answer = usize::from(kind_before == Kind::Master && class == Class::AdvertLeaving);
            assert_eq!(adverts, answer, "{kind_before:?} x {class:?}");
        }
    }
}

fn priority(output: &Output) -> Option<u8> {
    match output {
        Output::Advertise(priority) => Some(*priority),
        Output::Announce | Output::Tell(_) => None,
    }
}

fn sent(outputs: &[Output]) -> Vec<u8> {
    outputs.iter().filter_map(priority).collect()
}

fn backup(settings: Settings) -> Machine {
    let mut machine = Machine::new(settings);
    machine.handle(at(0), up());
    machine
}

#[test]
fn a_backup_follows_its_masters_interval_and_takes_its_own_when_promoted() {
    let mut machine = backup(settings(100, true));
    machine.handle(at(0), advert(200, 4 * SECOND, 1));
    let down = Rfc9568::master_down(100, 4 * SECOND);
    assert_eq!(machine.deadline(), Some(at(0) + down));
    assert_eq!(sent(&machine.handle(at(0) + down, Event::Timer)), [100]);
    assert_eq!(machine.deadline(), Some(at(0) + down + SECOND));
}

#[test]
fn a_late_advert_still_counts_when_the_timer_has_not_been_handled() {
    let mut machine = backup(settings(100, true));
    let late = at(5_000_000);
    machine.handle(late, advert(200, SECOND, 1));
    assert_eq!(sent(&machine.handle(late, Event::Timer)), [0; 0]);
    assert_eq!(machine.deadline(), Some(late + Rfc9568::master_down(100, SECOND)));
}

#[test]
fn a_farewell_never_prolongs_the_wait() {
    let mut machine = backup(settings(100, true));
    machine.handle(at(0), advert(200, SECOND, 1));
    machine.handle(at(1_000_000), advert(0, SECOND, 1));
    assert_eq!(machine.deadline(), Some(at(1_609_375)));
    machine.handle(at(1_500_000), advert(0, SECOND, 1));
    assert_eq!(machine.deadline(), Some(at(1_609_375)));
}

#[test]
fn a_wait_before_preempting_begins_with_the_first_lower_advert() {
    let waiting = Settings { preempt_delay: 10 * SECOND, ..settings(100, true) };
    let mut machine = backup(waiting);
    for second in 1..=10 {
        machine.handle(at(second * 1_000_000), advert(50, SECOND, 1));
    }
    assert_eq!(machine.deadline(), Some(at(13_609_375)), "adverts still count before 11 s");
    machine.handle(at(11_000_000), advert(50, SECOND, 1));
    machine.handle(at(12_000_000), advert(50, SECOND, 1));
    assert_eq!(machine.deadline(), Some(at(13_609_375)), "and no longer after");
    assert_eq!(sent(&machine.handle(at(13_609_375), Event::Timer)), [100]);
}

#[test]
fn a_wait_before_preempting_is_cancelled_by_an_equal_or_higher_priority() {
    for priority in [100, 101, 255] {
        let waiting = Settings { preempt_delay: 10 * SECOND, ..settings(100, true) };
        let mut machine = backup(waiting);
        machine.handle(at(1_000_000), advert(50, SECOND, 1));
        machine.handle(at(10_000_000), advert(priority, SECOND, 2));
        machine.handle(at(12_000_000), advert(50, SECOND, 1));
        let down = at(12_000_000) + Rfc9568::master_down(100, SECOND);
        assert_eq!(machine.deadline(), Some(down), "priority {priority}");
    }
}

#[test]
fn a_dead_master_is_replaced_whatever_the_wait_before_preempting() {
    let waiting = Settings { preempt_delay: 1_000 * SECOND, ..settings(100, true) };
    let mut machine = backup(waiting);
    machine.handle(at(1_000_000), advert(50, SECOND, 1));
    assert_eq!(sent(&machine.handle(at(4_609_375), Event::Timer)), [100]);
}

#[test]
fn a_changed_priority_moves_the_running_timer_by_the_change_in_skew() {
    for (before, after) in [(100, 200), (200, 100), (1, 254), (254, 1)] {
        let mut machine = backup(settings(before, true));
        machine.handle(at(1_000_000), advert(254, 3 * SECOND, 1));
        machine.handle(at(2_000_000), Event::Configure(settings(after, true)));
        let down = Rfc9568::master_down(u8::try_from(after).expect("a byte"), 3 * SECOND);
        assert_eq!(machine.deadline(), Some(at(1_000_000) + down), "{before} to {after}");
    }
}

#[test]
fn a_changed_interval_counts_at_once_while_no_master_was_heard() {
    let mut machine = backup(settings(100, true));
    let short =
        Settings { interval: AdvertInterval::from_centis(10).expect("1 to 4095"), ..settings(100, true) };
    machine.handle(at(100_000), Event::Configure(short));
    assert_eq!(machine.deadline(), Some(at(0) + Rfc9568::master_down(100, Duration::from_millis(100))));
}

#[test]
fn an_owner_that_becomes_an_ordinary_router_stays_master() {
    let mut machine = Machine::new(settings(255, true));
    assert_eq!(sent(&machine.handle(at(0), up())), [255]);
    assert_eq!(sent(&machine.handle(at(1), Event::Configure(settings(100, true)))), [0; 0]);
    assert_eq!(sent(&machine.handle(at(1_000_000), Event::Timer)), [100]);
}

#[test]
fn changed_addresses_of_a_master_are_announced_again() {
    let mut machine = machine(Kind::Master, true);
    let mut more = settings(100, true);
    more.addresses.push(("eth0".parse().expect("an interface name"), IpAddr::from([192, 0, 2, 2])));
    machine.handle(at(4_500_000), Event::Configure(more));
    let due = at(9_500_000);
    let mut rounds = Vec::new();
    while let Some(deadline) = machine.deadline().filter(|d| *d < at(20_000_000)) {
        if machine.handle(deadline, Event::Timer).contains(&Output::Announce) {
            rounds.push(deadline.since(due).as_millis());
        }
    }
    assert_eq!(rounds, [0, 100, 200, 300, 400]);
}

#[test]
fn without_preemption_a_master_that_slept_yields_to_whoever_took_over() {
    for (silent_us, preempt, after) in [
        (2_999_999, false, Kind::Master),
        (3_000_000, false, Kind::Backup),
        (3_000_000, true, Kind::Master),
        (60_000_000, true, Kind::Master),
    ] {
        let mut machine = machine(Kind::Master, preempt);
        machine.handle(at(3_609_375 + silent_us), advert(99, SECOND, 1));
        assert_eq!(kind(&machine), after, "{silent_us} us, preempt {preempt}");
    }
}

#[test]
fn a_rival_that_does_not_hear_us_gets_one_answer_an_interval_and_announcements_every_five_seconds() {
    let mut machine = machine(Kind::Master, true);
    let start = at(10_000_000);
    while machine.deadline().is_some_and(|deadline| deadline < start) {
        let deadline = machine.deadline().expect("a deadline");
        machine.handle(deadline, Event::Timer);
    }
    let mut adverts = 0;
    let mut announcements = 0;
    let mut count = |outputs: &[Output]| {
        adverts += sent(outputs).len();
        announcements += outputs.iter().filter(|o| **o == Output::Announce).count();
    };
    for step in 0..20_000_u64 {
        let now = start + Duration::from_millis(step);
        count(&machine.handle(now, advert(99, SECOND, 1)));
        count(&machine.handle(now, Event::Timer));
    }
    assert_eq!(adverts, 20 + 20);
    assert_eq!(announcements, 4 * 5);
    assert_eq!(machine.counters().rivals, 20_000);
}

fn told(stance: Stance) -> Settings {
    Settings { stance, ..settings(100, false) }
}

/// Runs timers until `until`; every output.
fn run(machine: &mut Machine, until: Instant) -> Vec<Output> {
    let mut all = Vec::new();
    for _ in 0..1_000 {
        let Some(due) = machine.deadline().filter(|due| *due <= until) else { return all };
        all.extend(machine.handle(due, Event::Timer));
    }
    panic!("the machine never rests")
}

#[test]
fn who_yields_says_farewell_every_interval_and_goes_on_as_master_if_nobody_takes_over() {
    let mut machine = machine(Kind::Yielding, true);
    let gives_up = at(TOLD + 3_609_375);
    let outputs = run(&mut machine, gives_up - Duration::from_nanos(1));
    assert_eq!((sent(&outputs), kind(&machine)), (vec![0, 0, 0], Kind::Yielding));
    let outputs = run(&mut machine, gives_up);
    assert_eq!((sent(&outputs), kind(&machine)), (vec![100], Kind::Master));
    let stays = |o: &Output| matches!(o, Output::Tell(Notice::NobodyTookOver { stays: true, .. }));
    assert!(outputs.iter().any(stays), "and says so: {outputs:?}");
    let outputs = run(&mut machine, gives_up + 3 * SECOND);
    assert_eq!((sent(&outputs), kind(&machine)), (vec![100; 3], Kind::Master), "for good");
}

#[test]
fn who_stands_aside_hands_over_first_and_leaves_even_if_nobody_takes_over() {
    let mut machine = machine(Kind::Master, true);
    machine.handle(at(NOW), Event::Configure(told(Stance::Aside { told: at(NOW) })));
    let outputs = run(&mut machine, at(NOW) + 10 * SECOND);
    assert_eq!((sent(&outputs), kind(&machine)), (vec![0; 3], Kind::Aside));
    let nowhere = |o: &Output| matches!(o, Output::Tell(Notice::NobodyTookOver { stays: false, .. }));
    assert!(outputs.iter().any(nowhere), "{outputs:?}");
    assert_eq!(machine.deadline(), None, "whatever happens");
}

#[test]
fn who_stands_aside_lingers_as_anybody_and_is_aside_then() {
    let mut machine = machine(Kind::Master, true);
    machine.handle(at(NOW), Event::Configure(told(Stance::Aside { told: at(NOW) })));
    machine.handle(at(NOW + 300_000), advert(1, SECOND, 9));
    assert_eq!(kind(&machine), Kind::Lingering);
    run(&mut machine, at(NOW + 500_000));
    assert_eq!(kind(&machine), Kind::Aside);
}

#[test]
fn who_has_yielded_takes_over_when_the_other_dies_and_does_not_preempt_before() {
    let mut machine = machine(Kind::Lingering, false);
    run(&mut machine, at(LINGERING_END));
    for step in 1..20 {
        machine.handle(at(LINGERING_END) + HALF * step, advert(1, HALF, 9));
        run(&mut machine, at(LINGERING_END) + HALF * step);
        assert_eq!(kind(&machine), Kind::Backup, "priority 1 is heeded");
    }
    let last = at(LINGERING_END) + HALF * 19;
    let outputs = run(&mut machine, last + Rfc9568::master_down(100, HALF));
    assert_eq!((sent(&outputs), kind(&machine)), (vec![100], Kind::Master));
}

#[test]
fn a_backup_told_to_yield_in_the_last_moment_of_its_wait_leaves_room_for_one_advert() {
    let mut machine = backup(settings(100, true));
    machine.handle(at(0), advert(50, SECOND, 1));
    let late = at(3_609_375) - Duration::from_nanos(1);
    machine.handle(late, Event::Configure(told(Stance::Yield { told: late })));
    assert_eq!(machine.deadline(), Some(late + SECOND + Rfc9568::skew(100, SECOND)));
    machine.handle(at(4_000_000), advert(50, SECOND, 1));
    assert_eq!(machine.deadline(), Some(at(4_000_000) + Rfc9568::master_down(100, SECOND)));
}

#[test]
fn who_starts_while_it_is_to_stand_aside_does_so_and_an_owner_does_not() {
    let aside = Stance::Aside { told: at(0) };
    let mut machine = Machine::new(told(aside));
    machine.handle(at(0), up());
    assert_eq!((kind(&machine), machine.deadline()), (Kind::Aside, None));
    let mut owner = Machine::new(Settings { stance: aside, ..settings(255, true) });
    assert_eq!(sent(&owner.handle(at(0), up())), [255]);
    owner.handle(
        at(5),
        Event::Configure(Settings { stance: Stance::Yield { told: at(5) }, ..settings(255, true) }),
    );
    assert_eq!(kind(&owner), Kind::Master, "nor does it yield");
}

#[test]
fn a_restart_while_handing_over_goes_on_with_it_and_one_after_it_does_not_begin_again() {
    let stance = Stance::Yield { told: at(TOLD) };
    let restart = |from: &Machine, stance, now| {
        let survival = from.survival().expect("it takes part");
        let mut successor = Machine::new(told(stance));
        let (resumed, outputs) = successor.resume(now, OWN.into(), &survival);
        (kind(&successor), resumed, sent(&outputs), successor.deadline())
    };
    let yielding = machine(Kind::Yielding, true);
    let (now, next) = (at(NOW), Some(at(NOW) + SECOND));
    assert_eq!(restart(&yielding, stance, now), (Kind::Yielding, true, vec![0], next));
    // Its last farewell is older than three intervals: another may be Master, it starts afresh.
    let late = at(TOLD + 3_000_000);
    assert_eq!(restart(&yielding, stance, late).0, Kind::Backup);
    // The command was taken back while it was dead.
    assert_eq!(restart(&yielding, Stance::Normal, now), (Kind::Master, true, vec![100], next));
    // A Master since then: the command is long past.
    let later = at(TOLD + 20_000_000);
    let mut master = machine(Kind::Yielding, true);
    run(&mut master, later);
    assert_eq!(restart(&master, stance, later), (Kind::Master, true, vec![100], Some(later + SECOND)));
    // Another has it: Backup, with what was heard.
    let lingering = machine(Kind::Lingering, true);
    let down = at(HEARD) + Rfc9568::master_down(100, HALF);
    assert_eq!(restart(&lingering, stance, now), (Kind::Backup, true, vec![], Some(down)));
    let aside = machine(Kind::Aside, true);
    let set_aside = Stance::Aside { told: at(TOLD) };
    assert_eq!(restart(&aside, set_aside, now), (Kind::Aside, true, vec![], None));
    assert_eq!(restart(&aside, Stance::Normal, now).0, Kind::Backup);
    assert_eq!(restart(&machine(Kind::Backup, true), set_aside, now).0, Kind::Aside);
}
