//! Whatever comes from outside, in whatever order: no panic, no spinning timer, and a recorded trace replays.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use bascule_core::config::model::AdvertInterval;
use bascule_core::net::{Family, IfName, Mac, Priority, Vrid};
use bascule_core::router::{Action, Event, Link, Received, Role, Router};
use bascule_core::time::Instant;
use bascule_core::vrrp::{Rfc9568, Settings, Stance};
use bascule_core::wire::vrrp::{Advert, ChecksumForm, Envelope};
use proptest::prelude::*;

fn interface() -> impl Strategy<Value = IfName> {
    prop_oneof![Just("eth0"), Just("eth1")].prop_map(|name| name.parse().expect("an interface name"))
}

fn vrid() -> impl Strategy<Value = Vrid> {
    (1_u32..4).prop_map(|id| Vrid::new(id).expect("1 to 255"))
}

fn stance() -> impl Strategy<Value = Stance> {
    (0_u8..7, 0_u64..20_000_000_000).prop_map(|(kind, nanos)| {
        let told = Instant::from_nanos(nanos);
        match kind {
            0 | 1 => Stance::Yield { told },
            2 => Stance::Takeover { told },
            3 => Stance::Aside { told },
            _ => Stance::Normal,
        }
    })
}

prop_compose! {
    fn settings()(
        name in "[ab]", interface in interface(), vrid in vrid(), v6 in any::<bool>(),
        priority in prop_oneof![1_u32..=255, Just(100_u32)], centis in 1_u16..=4_095, preempt in any::<bool>(),
        delay in 0_u64..10_000, addresses in 0_u8..4, checksum_as_v2 in any::<bool>(),
        stance in stance(),
    ) -> Settings {
        let address = |n: u8| match v6 {
            true => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)]),
            false => IpAddr::from([192, 0, 2, n]),
        };
        Settings {
            name: name.parse().expect("a name"),
            vrid,
            family: if v6 { Family::V6 } else { Family::V4 },
            priority: Priority::new(priority).expect("1 to 255"),
            interval: AdvertInterval::from_centis(centis).expect("1 to 4095"),
            preempt,
            preempt_delay: Duration::from_millis(delay),
            addresses: (1..=addresses).map(|n| (interface.clone(), address(n))).collect(),
            interface,
            checksum_as_v2,
            stance,
        }
    }
}

prop_compose! {
    fn link()(
        index in 1_u32..9, running in prop::bool::weighted(0.8), four in prop::bool::weighted(0.8),
        six in prop::bool::weighted(0.8), host in 1_u8..4,
    ) -> Link {
        Link {
            index,
            running,
            mac: Mac([2, 0, 0, 0, 0, host]),
            primary_v4: four.then(|| Ipv4Addr::new(10, 0, 0, host)),
            link_local: six.then(|| [0xfe80, 0, 0, 0, 0, 0, 0, u16::from(host)].into()),
        }
    }
}

prop_compose! {
    fn advert()(
        interface in interface(), vrid in vrid(), priority in any::<u8>(), centis in 1_u64..=4_095,
        v6 in any::<bool>(), host in 1_u8..6, as_v2 in any::<bool>(),
    ) -> Received {
        let source = match v6 {
            true => IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, u16::from(host)]),
            false => IpAddr::from([10, 0, 0, host]),
        };
        let form = if as_v2 { ChecksumForm::MessageOnly } else { ChecksumForm::PseudoHeader };
        let interval = Duration::from_millis(centis * 10);
        let payload = Advert { vrid, priority, interval }.emit([source], source, form);
        let Envelope { source, destination, hops } = Envelope::multicast(source);
        Received { interface, source, destination, hops, payload }
    }
}

prop_compose! {
    fn junk()(
        mut received in advert(), bytes in proptest::collection::vec(any::<u8>(), 0..100), hops in any::<u8>(),
    ) -> Received {
        received.payload.clear();
        received.payload.extend_from_slice(&bytes).expect("room");
        received.hops = hops;
        received
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        30 => advert().prop_map(Event::Packet),
        5 => junk().prop_map(Event::Packet),
        30 => Just(Event::Timer),
        10 => (interface(), proptest::option::weighted(0.9, link())).prop_map(|(name, link)| Event::Link(name, link)),
        5 => proptest::collection::vec(settings(), 0..4).prop_map(Event::Configure),
        1 => Just(Event::Shutdown),
    ]
}

/// Events with the time since the one before, beginning with two interfaces and a configuration.
fn trace() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let start = (link(), link(), proptest::collection::vec(settings(), 1..4)).prop_map(|(zero, one, all)| {
        let name = |text: &str| text.parse().expect("an interface name");
        vec![
            (0, Event::Link(name("eth0"), Some(zero))),
            (0, Event::Link(name("eth1"), Some(one))),
            (0, Event::Configure(all)),
        ]
    });
    let gap = prop_oneof![Just(0_u64), 0..1_000_000_000_u64, 0..100_000_000_000_u64];
    let rest = proptest::collection::vec((gap, event()), 0..80);
    (start, rest).prop_map(|(start, rest)| [start, rest].concat())
}

/// Runs a trace; all actions in order.
fn run(trace: &[(u64, Event)]) -> Result<Vec<Action>, TestCaseError> {
    let mut router: Router<Rfc9568> = Router::new();
    let mut now = Instant::ZERO;
    let mut actions = Vec::new();
    let mut left = false;
    for (gap, event) in trace {
        now += Duration::from_nanos(*gap);
        let timer = *event == Event::Timer;
        left |= *event == Event::Shutdown;
        let new = router.handle(now, event.clone());
        if timer {
            prop_assert!(router.deadline().is_none_or(|deadline| deadline > now), "a timer that spins");
        }
        if new.iter().any(|action| matches!(action, Action::Roles(_))) {
            let told = new.iter().find_map(|a| if let Action::Roles(roles) = a { Some(roles) } else { None });
            prop_assert_eq!(told, Some(router.roles()));
        }
        let masters = router.roles().routers.values().filter(|s| s.role == Role::Master).count();
        prop_assert!(!left || (masters == 0 && router.deadline().is_none()), "it goes on after leaving");
        prop_assert!(new.len() < 60, "{} actions of one event", new.len());
        actions.extend(new);
    }
    Ok(actions)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_sequence_of_events_panics_or_makes_a_timer_spin(trace in trace()) {
        run(&trace)?;
    }

    #[test]
    fn a_recorded_trace_replays_to_the_same_actions(trace in trace()) {
        let recorded = serde_json::to_string(&trace).expect("encodable");
        let replayed: Vec<(u64, Event)> = serde_json::from_str(&recorded).expect("decodable");
        prop_assert_eq!(run(&trace)?, run(&replayed)?);
    }
}
