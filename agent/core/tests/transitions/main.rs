//! The state machine of one virtual router: the whole transition table, then every deadline to the nanosecond.

use core::net::IpAddr;
use core::time::Duration;

use bascule_core::config::model::AdvertInterval;
use bascule_core::net::{Family, Priority, Vrid};
use bascule_core::notice::Notice;
use bascule_core::time::Instant;
use bascule_core::vrrp::{Event, Output, Rfc9568, Rules, Settings, Stance, State, VirtualRouter};
use bascule_core::wire::vrrp::Advert;

mod deadlines;
mod handover;
mod table;

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

/// What a machine of this kind was told before.
fn stance(kind: Kind) -> Stance {
    let told = at(TOLD);
    match kind {
        Kind::Initialize | Kind::Backup | Kind::Master => Stance::Normal,
        Kind::Yielding | Kind::Lingering => Stance::Yield { told },
        Kind::Aside => Stance::Aside { told },
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
