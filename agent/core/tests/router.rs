//! The router of a whole box: which virtual router an event reaches, what leaves the box, what others learn.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use bascule_core::config::model::AdvertInterval;
use bascule_core::net::{Family, IfName, Mac, Name, Priority, Vrid};
use bascule_core::notice::Notice;
use bascule_core::router::{Action, Event, Link, Received, Role, Roles, Router, RouterStatus, Snapshot};
use bascule_core::time::Instant;
use bascule_core::vrrp::{Settings, Stance};
use bascule_core::wire::vrrp::{Advert, ChecksumForm, Envelope, HOPS, Packet, RefusedAdvert};

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const DOWN: Duration = Duration::from_nanos(3_609_375_000);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn eth(text: &str) -> IfName {
    text.parse().expect("an interface name")
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn settings(text: &str, vrid: u32) -> Settings {
    Settings {
        name: name(text),
        interface: eth("eth0"),
        vrid: Vrid::new(vrid).expect("1 to 255"),
        family: Family::V4,
        priority: Priority::new(100).expect("1 to 255"),
        interval: AdvertInterval::from_centis(100).expect("1 to 4095"),
        preempt: true,
        preempt_delay: Duration::ZERO,
        addresses: vec![(eth("eth0"), virtual_address(vrid))],
        checksum_as_v2: false,
        stance: Stance::Normal,
    }
}

fn virtual_address(vrid: u32) -> IpAddr {
    IpAddr::from([192, 0, 2, vrid as u8])
}

fn link() -> Link {
    Link {
        index: 2,
        running: true,
        mac: Mac([2, 0, 0, 0, 0, 1]),
        primary_v4: Some(OWN),
        link_local: Some("fe80::1".parse().expect("an address")),
    }
}

fn link_event(link: Option<Link>) -> Event {
    Event::Link(eth("eth0"), link)
}

fn started(settings: Vec<Settings>) -> Router {
    let mut router: Router = Router::new();
    router.handle(at(0), link_event(Some(link())));
    router.handle(at(0), Event::Configure(settings));
    router
}

fn heard(vrid: u32, priority: u8, source: IpAddr) -> Received {
    let advert =
        Advert { vrid: Vrid::new(vrid).expect("1 to 255"), priority, interval: Duration::from_secs(1) };
    let payload = advert.emit([virtual_address(vrid)], source, ChecksumForm::PseudoHeader);
    let Envelope { source, destination, hops } = Envelope::multicast(source);
    Received { interface: eth("eth0"), source, destination, hops, payload }
}

fn status<'a>(router: &'a Router, text: &str) -> &'a RouterStatus {
    &router.roles().routers[&name(text)]
}

/// Priorities of the adverts among `actions`, each checked as a peer would.
fn sent(actions: &[Action]) -> Vec<(u8, u8)> {
    let advert = |action: &Action| {
        let Action::Send { source, payload, .. } = action else { return None };
        let packet = Packet::parse(payload, &Envelope::multicast(*source)).expect("a good advert");
        Some((packet.advert().vrid.get(), packet.advert().priority))
    };
    actions.iter().filter_map(advert).collect()
}

fn roles(actions: &[Action]) -> Option<&Roles> {
    actions.iter().find_map(|action| if let Action::Roles(roles) = action { Some(roles) } else { None })
}

fn notices(actions: &[Action]) -> Vec<&Notice> {
    let notices = actions.iter();
    notices.filter_map(|action| if let Action::Tell(notice) = action { Some(notice) } else { None }).collect()
}

fn announced(actions: &[Action]) -> Vec<IpAddr> {
    let address = |action: &Action| {
        if let Action::Announce { address, .. } = action { Some(*address) } else { None }
    };
    actions.iter().filter_map(address).collect()
}

#[test]
fn a_lonely_router_takes_over_exactly_after_master_down_and_adverts_without_drift() {
    let mut router = started(vec![settings("front", 1)]);
    assert_eq!(router.deadline(), Some(at(0) + DOWN));
    let early = at(0) + DOWN - Duration::from_nanos(1);
    assert_eq!(router.handle(early, Event::Timer), []);
    let first = at(0) + DOWN;
    let actions = router.handle(first, Event::Timer);
    assert_eq!(sent(&actions), [(1, 100)]);
    assert!(matches!(actions[0], Action::Send { .. }), "the advert comes first: {actions:?}");
    assert!(matches!(actions[1], Action::Roles(_)), "roles come before tellings: {actions:?}");
    for beat in 1..=4_u64 {
        let due = first + Duration::from_secs(beat);
        assert_eq!(router.deadline(), Some(due));
        // Always a little late, and each timer twice: deadlines do not move.
        let late = due + Duration::from_millis(100 * beat);
        assert_eq!(sent(&router.handle(late, Event::Timer)), [(1, 100)]);
        assert_eq!(router.handle(late, Event::Timer), []);
    }
}

#[test]
fn a_master_that_was_stopped_sends_one_advert_and_not_those_it_missed() {
    let mut router = started(vec![settings("front", 1)]);
    router.handle(at(0) + DOWN, Event::Timer);
    let woken = at(60_000);
    let actions = router.handle(woken, Event::Timer);
    assert_eq!(sent(&actions), [(1, 100)]);
    assert!(matches!(notices(&actions)[..], [Notice::AdvertLate { .. }]));
    assert_eq!(announced(&actions), [virtual_address(1)]);
    let next_announcement = woken + Duration::from_millis(100);
    assert_eq!(router.deadline(), Some(next_announcement));
    assert_eq!(sent(&router.handle(woken + Duration::from_millis(999), Event::Timer)), []);
    assert_eq!(sent(&router.handle(woken + Duration::from_secs(1), Event::Timer)), [(1, 100)]);
}

#[test]
fn addresses_are_announced_again_five_seconds_after_taking_over_in_five_rounds() {
    let mut router = started(vec![settings("front", 1)]);
    let first = at(0) + DOWN;
    let mut rounds = Vec::new();
    let mut adverts = 0;
    router.handle(first, Event::Timer);
    while let Some(deadline) = router.deadline().filter(|d| *d <= first + Duration::from_secs(30)) {
        let actions = router.handle(deadline, Event::Timer);
        adverts += sent(&actions).len();
        if !announced(&actions).is_empty() {
            rounds.push(deadline.since(first).as_millis());
        }
    }
    assert_eq!(rounds, [5_000, 5_100, 5_200, 5_300, 5_400]);
    assert_eq!(adverts, 30);
}

#[test]
fn a_master_that_hears_a_lower_rank_adverts_at_once_and_repairs_without_flooding() {
    let mut router = started(vec![settings("front", 1)]);
    let first = at(0) + DOWN;
    router.handle(first, Event::Timer);
    let due = router.deadline();
    let now = first + Duration::from_millis(10);
    let actions = router.handle(now, Event::Packet(heard(1, 99, PEER)));
    assert_eq!(sent(&actions), [(1, 100)]);
    assert_eq!(announced(&actions), [virtual_address(1)]);
    assert_eq!(*status(&router, "front"), RouterStatus { since: first, ..status(&router, "front").clone() });
    // A thousand more in the same interval change nothing: neither adverts, announcements nor the beat.
    let mut adverts = 0;
    let mut announcements = 0;
    for step in 0..1_000 {
        let actions =
            router.handle(now + Duration::from_micros(step * 900), Event::Packet(heard(1, 99, PEER)));
        adverts += sent(&actions).len();
        announcements += announced(&actions).len();
    }
    assert_eq!((adverts, announcements), (0, 0));
    assert_eq!(router.deadline().map(|d| d.min(due.expect("a deadline"))), router.deadline());
    let beat = first + Duration::from_secs(1);
    assert_eq!(sent(&router.handle(beat, Event::Timer)), [(1, 100)]);
    assert!(matches!(status(&router, "front").role, Role::Master));
}

#[test]
fn messages_reach_the_virtual_router_of_their_interface_family_and_vrid() {
    let mut six = settings("six", 1);
    six.family = Family::V6;
    six.addresses = vec![(eth("eth0"), "2001:db8::1".parse().expect("an address"))];
    let mut router = started(vec![settings("one", 1), settings("two", 2), six]);
    router.handle(at(1), Event::Packet(heard(2, 200, PEER)));
    let masters: Vec<Option<IpAddr>> = ["one", "two", "six"].map(|n| status(&router, n).master).to_vec();
    assert_eq!(masters, [None, Some(PEER), None]);
    let elsewhere = Received { interface: eth("eth1"), ..heard(1, 200, PEER) };
    router.handle(at(2), Event::Packet(elsewhere));
    router.handle(at(2), Event::Packet(heard(9, 200, PEER)));
    assert_eq!(router.statistics().refused[&RefusedAdvert::Vrid], 2);
    assert_eq!(status(&router, "one").master, None);
    assert_eq!(router.statistics().routers[&name("two")].received, 1);
}

#[test]
fn each_refusal_is_counted_and_told_at_a_limited_rate() {
    let mut router = started(vec![settings("front", 1)]);
    let mut told = 0;
    for step in 0..1_000 {
        let routed =
            Received { hops: 1, ..heard(1, 255, IpAddr::from([10, 0, (step / 250) as u8, step as u8])) };
        told += notices(&router.handle(at(step), Event::Packet(routed))).len();
    }
    assert_eq!(router.statistics().refused[&RefusedAdvert::Hops], 1_000);
    assert_eq!(told, 5);
    let own = router.handle(at(1_000), Event::Packet(heard(1, 255, OWN.into())));
    assert!(matches!(notices(&own)[..], [Notice::AdvertRefused { reason: RefusedAdvert::OwnAddress, .. }]));
    assert_eq!(HOPS, 255);
    // None of it has moved the timer.
    assert_eq!(router.deadline(), Some(at(0) + DOWN));
}

#[test]
fn other_addresses_are_counted_and_told_and_the_advert_still_counts() {
    let mut front = settings("front", 1);
    front.addresses.push((eth("eth0"), virtual_address(77)));
    let mut router = started(vec![front]);
    let actions = router.handle(at(500), Event::Packet(heard(1, 200, PEER)));
    assert!(matches!(notices(&actions)[..], [Notice::AddressesDiffer { .. }]));
    assert_eq!(router.statistics().routers[&name("front")].addresses_differ, 1);
    assert_eq!(router.deadline(), Some(at(500) + DOWN));
}

#[test]
fn the_order_of_addresses_does_not_matter() {
    let mut front = settings("front", 1);
    front.addresses.insert(0, (eth("eth0"), virtual_address(77)));
    let mut router = started(vec![front]);
    let mut received = heard(1, 200, PEER);
    let advert = Advert { vrid: Vrid::MIN, priority: 200, interval: Duration::from_secs(1) };
    received.payload =
        advert.emit([virtual_address(1), virtual_address(77)], PEER, ChecksumForm::MessageOnly);
    assert_eq!(notices(&router.handle(at(500), Event::Packet(received))), Vec::<&Notice>::new());
}

#[test]
fn a_fault_names_the_interface_and_ends_when_it_can_be_used() {
    let mut router: Router = Router::new();
    let fault = |router: &Router| match &status(router, "front").role {
        Role::Fault(reason) => reason.clone(),
        role @ (Role::Backup | Role::Master) => format!("{role:?}"),
    };
    router.handle(at(0), Event::Configure(vec![settings("front", 1)]));
    assert_eq!(fault(&router), "interface eth0 is not known yet");
    let actions = router.handle(at(1), link_event(None));
    assert_eq!(fault(&router), "interface eth0 does not exist");
    assert!(roles(&actions).is_some());
    assert!(matches!(notices(&actions)[..], [Notice::RouterFault { .. }]));
    assert_eq!(router.deadline(), None);
    router.handle(at(2), link_event(Some(Link { running: false, ..link() })));
    assert_eq!(fault(&router), "interface eth0 is down or has no carrier");
    router.handle(at(3), link_event(Some(Link { primary_v4: None, ..link() })));
    assert_eq!(fault(&router), "interface eth0 has no IPv4 address of its own");
    // A packet in Fault changes nothing.
    router.handle(at(4), Event::Packet(heard(1, 0, PEER)));
    assert_eq!(router.deadline(), None);
    router.handle(at(5), link_event(Some(link())));
    assert_eq!(fault(&router), "Backup");
    assert_eq!(router.deadline(), Some(at(5) + DOWN));
    // Told twice, nothing happens; a Master whose interface fails cannot even say goodbye.
    assert_eq!(router.handle(at(6), link_event(Some(link()))), []);
    router.handle(at(5) + DOWN, Event::Timer);
    assert_eq!(fault(&router), "Master");
    let actions = router.handle(at(9_000), link_event(None));
    assert_eq!(sent(&actions), []);
    assert_eq!(fault(&router), "interface eth0 does not exist");
}

#[test]
fn ipv6_needs_a_link_local_address_and_sends_from_it() {
    let mut six = settings("six", 1);
    six.family = Family::V6;
    six.addresses = vec![(eth("eth0"), "2001:db8::1".parse().expect("an address"))];
    let mut router: Router = Router::new();
    router.handle(at(0), link_event(Some(Link { link_local: None, ..link() })));
    router.handle(at(0), Event::Configure(vec![six]));
    assert_eq!(
        status(&router, "six").role,
        Role::Fault("interface eth0 has no IPv6 link-local address".into())
    );
    router.handle(at(0), link_event(Some(link())));
    let actions = router.handle(at(0) + DOWN, Event::Timer);
    assert!(
        matches!(&actions[0], Action::Send { source: IpAddr::V6(source), .. } if Some(*source) == link().link_local)
    );
    assert_eq!(sent(&actions), [(1, 100)]);
}

#[test]
fn the_owner_is_master_at_once() {
    let mut owner = settings("front", 1);
    owner.priority = Priority::OWNER;
    let mut router: Router = Router::new();
    router.handle(at(0), link_event(Some(link())));
    let actions = router.handle(at(0), Event::Configure(vec![owner]));
    assert_eq!(sent(&actions), [(1, 255)]);
    assert!(matches!(status(&router, "front").role, Role::Master));
}

#[test]
fn unchanged_virtual_routers_keep_their_state_and_removed_ones_say_goodbye() {
    let mut router = started(vec![settings("one", 1), settings("two", 2)]);
    router.handle(at(0) + DOWN, Event::Timer);
    let before = (status(&router, "one").clone(), router.deadline());
    let actions = router.handle(at(4_000), Event::Configure(vec![settings("one", 1), settings("three", 3)]));
    assert_eq!(sent(&actions), [(2, 0)]);
    assert_eq!((status(&router, "one").clone(), router.deadline()), before);
    let names: Vec<String> = roles(&actions).expect("roles").routers.keys().map(Name::to_string).collect();
    assert_eq!(names, ["one", "three"]);
    assert_eq!(status(&router, "three").role, Role::Backup);
    // The same again is nothing at all.
    assert_eq!(
        router.handle(at(4_001), Event::Configure(vec![settings("one", 1), settings("three", 3)])),
        []
    );
    // Another VRID under the same name is another virtual router.
    let actions = router.handle(at(4_100), Event::Configure(vec![settings("one", 7)]));
    assert_eq!(sent(&actions), [(1, 0)]);
    assert_eq!(status(&router, "one").role, Role::Backup);
    router.handle(at(4_200), Event::Packet(heard(7, 200, PEER)));
    assert_eq!(status(&router, "one").master, Some(PEER));
}

#[test]
fn shutdown_says_goodbye_once_and_then_there_is_silence() {
    let mut router = started(vec![settings("one", 1), settings("two", 2)]);
    router.handle(at(0) + DOWN, Event::Timer);
    router.handle(at(4_000), Event::Packet(heard(2, 200, PEER)));
    let actions = router.handle(at(4_100), Event::Shutdown);
    assert_eq!(sent(&actions), [(1, 0)]);
    let masters = roles(&actions).expect("roles").routers.values().filter(|s| s.role == Role::Master);
    assert_eq!(masters.count(), 0);
    assert_eq!(router.deadline(), None);
    for event in [
        Event::Shutdown,
        Event::Timer,
        Event::Packet(heard(1, 0, PEER)),
        link_event(None),
        link_event(Some(link())),
        Event::Configure(vec![settings("three", 3)]),
    ] {
        assert_eq!(sent(&router.handle(at(9_000), event)), []);
        assert_eq!(router.deadline(), None);
    }
    assert_eq!(router.snapshot(), Snapshot::default());
}

#[test]
fn roles_come_out_only_when_they_change() {
    let mut router = started(vec![settings("front", 1)]);
    assert!(roles(&router.handle(at(100), Event::Packet(heard(1, 200, PEER)))).is_some());
    for beat in 1..10 {
        let actions = router.handle(at(100 + beat * 1_000), Event::Packet(heard(1, 200, PEER)));
        assert_eq!(actions, []);
    }
    assert!(roles(&router.handle(at(10_000), Event::Packet(heard(1, 201, PEER)))).is_some());
}

mod resume {
    use super::*;

    /// What a new agent does at `now` with what a Master or Backup left at 4 s.
    fn successor(snapshot: Snapshot, now: Instant) -> (Router, Vec<Action>) {
        // As in life, the snapshot has been through the disk format.
        let bytes = postcard::to_stdvec(&snapshot).expect("encodable");
        let snapshot = postcard::from_bytes(&bytes).expect("decodable");
        let mut router: Router = Router::resume(snapshot);
        let mut actions = router.handle(now, Event::Configure(vec![settings("front", 1)]));
        assert_eq!(roles(&actions), None, "no roles before the interface is known");
        actions.extend(router.handle(now, link_event(Some(link()))));
        (router, actions)
    }

    fn master() -> (Router, Instant) {
        let mut router = started(vec![settings("front", 1)]);
        let since = at(0) + DOWN;
        router.handle(since, Event::Timer);
        router.handle(since + Duration::from_secs(1), Event::Timer);
        (router, since)
    }

    #[test]
    fn a_master_within_three_intervals_goes_on_and_adverts_at_once() {
        let (dead, since) = master();
        let last = since + Duration::from_secs(1);
        let now = last + Duration::from_millis(2_999);
        let (router, actions) = successor(dead.snapshot(), now);
        assert_eq!(sent(&actions), [(1, 100)]);
        assert_eq!(status(&router, "front").role, Role::Master);
        assert_eq!(status(&router, "front").since, since);
        assert_eq!(router.deadline(), Some(now + Duration::from_secs(1)));
        assert_eq!(router.statistics().routers[&name("front")].became_master, 0);
        assert!(matches!(notices(&actions)[..], [Notice::Resumed { master: true, .. }]));
    }

    #[test]
    fn a_master_after_three_intervals_starts_as_backup() {
        let (dead, since) = master();
        let now = since + Duration::from_secs(1) + Duration::from_secs(3);
        let (router, actions) = successor(dead.snapshot(), now);
        assert_eq!(sent(&actions), []);
        assert_eq!(status(&router, "front").role, Role::Backup);
        assert_eq!(router.deadline(), Some(now + DOWN));
    }

    #[test]
    fn a_backup_keeps_its_running_timer() {
        let mut dead = started(vec![settings("front", 1)]);
        dead.handle(at(4_000), Event::Packet(heard(1, 200, PEER)));
        let (router, _) = successor(dead.snapshot(), at(4_500));
        assert_eq!(router.deadline(), Some(at(4_000) + DOWN));
        assert_eq!(status(&router, "front").master, Some(PEER));
        assert_eq!(status(&router, "front").since, at(0));
    }

    #[test]
    fn a_backup_that_was_deaf_leaves_room_for_one_advert_of_a_living_master() {
        let mut dead = started(vec![settings("front", 1)]);
        dead.handle(at(4_000), Event::Packet(heard(1, 200, PEER)));
        for gone in [3_600, 60_000] {
            let now = at(4_000 + gone);
            let (router, actions) = successor(dead.snapshot(), now);
            assert_eq!(sent(&actions), []);
            assert_eq!(router.deadline(), Some(now + Duration::from_nanos(1_609_375_000)));
        }
    }

    #[test]
    fn a_survivor_whose_interface_is_down_starts_afresh_when_it_comes_up() {
        let (dead, since) = master();
        let mut router: Router = Router::resume(dead.snapshot());
        let now = since + Duration::from_millis(1_500);
        router.handle(now, link_event(Some(Link { running: false, ..link() })));
        router.handle(now, Event::Configure(vec![settings("front", 1)]));
        let actions = router.handle(now, link_event(Some(link())));
        assert_eq!(sent(&actions), []);
        assert_eq!(router.deadline(), Some(now + DOWN));
    }

    #[test]
    fn another_identity_is_not_resumed() {
        let (dead, since) = master();
        let mut router: Router = Router::resume(dead.snapshot());
        let now = since + Duration::from_millis(1_500);
        router.handle(now, link_event(Some(link())));
        let actions = router.handle(now, Event::Configure(vec![settings("front", 9)]));
        assert_eq!(sent(&actions), []);
        assert_eq!(status(&router, "front").role, Role::Backup);
    }

    #[test]
    fn roles_wait_for_the_interfaces_of_survivors_and_for_no_other() {
        let (dead, since) = master();
        let mut other = settings("other", 5);
        other.interface = eth("eth9");
        let mut router: Router = Router::resume(dead.snapshot());
        let now = since + Duration::from_millis(1_500);
        let actions = router.handle(now, Event::Configure(vec![settings("front", 1), other]));
        assert_eq!(roles(&actions), None);
        let actions = router.handle(now, Event::Link(eth("eth9"), None));
        assert_eq!(roles(&actions), None);
        let actions = router.handle(now, link_event(Some(link())));
        let told = roles(&actions).expect("roles");
        assert_eq!(told.routers[&name("front")].role, Role::Master);
        assert_eq!(told.routers[&name("other")].role, Role::Fault("interface eth9 does not exist".into()));
    }
}

/// Changes of state among `actions`, in words.
fn changed(actions: &[Action]) -> Vec<String> {
    let words = |action: &Action| {
        let Action::Changed(change) = action else { return None };
        Some(format!("{} {} to {}, {}", change.router, change.from.word(), change.to.word(), change.why))
    };
    actions.iter().filter_map(words).collect()
}

fn told(stance: Stance, priority: u32) -> Event {
    let priority = Priority::new(priority).expect("1 to 255");
    Event::Configure(vec![Settings { stance, priority, ..settings("front", 1) }])
}

#[test]
fn every_change_of_state_is_told_once_with_its_reason() {
    let peer = IpAddr::from([10, 0, 0, 9]);
    let mut router: Router = Router::new();
    router.handle(at(0), link_event(Some(link())));
    let changes = |router: &mut Router, now, event| changed(&router.handle(now, event));
    let configure = Event::Configure(vec![settings("front", 1)]);
    assert_eq!(changes(&mut router, at(0), configure), ["front FAULT to BACKUP, start"]);
    assert_eq!(
        changes(&mut router, at(0) + DOWN, Event::Timer),
        ["front BACKUP to MASTER, no Master was heard"]
    );
    let hear = |priority| Event::Packet(heard(1, priority, peer));
    assert_eq!(
        changes(&mut router, at(4_000), hear(200)),
        ["front MASTER to BACKUP, 10.0.0.9 is Master with priority 200"]
    );
    assert_eq!(changes(&mut router, at(4_500), hear(200)), [""; 0]);
    let down = at(4_500) + DOWN;
    assert_eq!(changes(&mut router, down, Event::Timer), ["front BACKUP to MASTER, 10.0.0.9 is down"]);
    changes(&mut router, at(9_000), hear(200));
    changes(&mut router, at(9_100), hear(0));
    assert_eq!(changes(&mut router, at(9_900), Event::Timer), ["front BACKUP to MASTER, 10.0.0.9 left"]);
    let yields = Stance::Yield { told: at(10_000) };
    assert_eq!(changes(&mut router, at(10_000), told(yields, 100)), [""; 0], "it holds the addresses");
    let since = status(&router, "front").since;
    assert_eq!(since, at(9_900), "and is Master as before");
    changes(&mut router, at(10_500), hear(1));
    assert_eq!(
        changes(&mut router, at(10_700), Event::Timer),
        ["front MASTER to BACKUP, handed over to 10.0.0.9"]
    );
    let takes = Stance::Takeover { told: at(11_000) };
    assert_eq!(
        changes(&mut router, at(11_000), told(takes, 254)),
        ["front BACKUP to MASTER, told to take over"]
    );
    let gone = changes(&mut router, at(12_000), link_event(None));
    assert_eq!(gone, ["front MASTER to FAULT, interface eth0 does not exist"]);
    router.handle(at(13_000), link_event(Some(link())));
    assert_eq!(
        changes(&mut router, at(13_500), Event::Shutdown),
        ["front BACKUP to FAULT, the agent or this virtual router ends"]
    );
}
