//! The whole table: every state and every class of event.

use super::*;

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
