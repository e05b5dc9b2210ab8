use core::time::Duration;
use std::collections::HashMap;

use super::*;
use crate::desired::{DestinationKey, ServiceKey};
use crate::health::{ProbeId, Verdict};
use crate::router::{Role, RouterStatus};
use crate::status::{Connections, HealthWord, Surroundings};

const FARM: &str = r#"
[interface.eth0]
addresses = ["192.0.2.11/24"]

[vrrp.web]
interface = "eth0"
vrid = 51
addresses = ["192.0.2.100/24"]

[virtual-server.web]
address = "192.0.2.100"
port = 80
sorry-server = "10.1.0.99:80"
check = { kind = "tcp", interval = "1s", timeout = "500ms", rise = 1, fall = 2 }
real-server."10.1.0.21:80" = {}
real-server."10.1.0.22:80" = {}
"#;

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn farm() -> Event {
    Event::Config(Arc::new(toml::from_str(FARM).expect("a good configuration")), "test.toml".into())
}

fn roles(role: Role) -> Event {
    let status = RouterStatus {
        role,
        since: at(1_000),
        master: None,
        master_priority: None,
        priority: 100,
        interval: Duration::from_secs(1),
    };
    Event::Roles(Roles { routers: [("web".parse().expect("a name"), status)].into() })
}

fn probes(effects: &[Effect]) -> Vec<Probe> {
    let probe = |effect: &Effect| if let Effect::Probe(probe) = effect { Some(probe.clone()) } else { None };
    effects.iter().filter_map(probe).collect()
}

fn tables(effects: &[Effect]) -> Vec<Vec<String>> {
    let table = |effect: &Effect| if let Effect::Apply(ipvs) = effect { Some(ipvs.clone()) } else { None };
    effects.iter().filter_map(table).map(|ipvs| destinations(&ipvs)).collect()
}

fn destinations(ipvs: &Ipvs) -> Vec<String> {
    let keys = ipvs.services.values().flat_map(|service| service.destinations.keys());
    let mut list: Vec<String> = keys.map(|key| key.address.to_string()).collect();
    list.sort();
    list
}

fn told(effects: &[Effect]) -> Vec<String> {
    let tell =
        |effect: &Effect| if let Effect::Tell(notice) = effect { Some(notice.to_string()) } else { None };
    effects.iter().filter_map(tell).collect()
}

fn outcome(id: ProbeId, good: bool) -> Event {
    let verdict = if good { Verdict::Up } else { Verdict::Down("connection refused".into()) };
    Event::Probed(ProbeOutcome { id, took: Duration::from_micros(1_234), verdict })
}

/// Runs the node until `until`, answering every probe; `good` decides by address. Gives all effects.
fn run(node: &mut Node, until: Instant, good: impl Fn(&str) -> bool) -> Vec<Effect> {
    let mut all = Vec::new();
    for _ in 0..1_000 {
        let Some(due) = node.deadline().filter(|due| *due <= until) else { return all };
        let mut effects = node.handle(due, Event::Timer);
        for probe in probes(&effects) {
            let good = good(&probe.target.ip().to_string());
            effects.extend(node.handle(due, outcome(probe.id, good)));
        }
        all.extend(effects);
    }
    panic!("the node never rests")
}

fn ready() -> Node {
    let mut node = Node::default();
    let effects = node.handle(at(0), farm());
    for probe in probes(&effects) {
        node.handle(at(0), outcome(probe.id, true));
    }
    node.handle(at(0), roles(Role::Master));
    run(&mut node, at(100), |_| true);
    node
}

#[test]
fn a_fresh_boot_starts_with_the_sorry_server_and_probes_at_once() {
    let mut node = Node::default();
    let effects = node.handle(at(0), farm());
    assert_eq!(tables(&effects), [["10.1.0.99"]]);
    assert_eq!(probes(&effects).len(), 1);
    assert!(matches!(effects[0], Effect::Routers(_)), "the virtual routers come first");
    assert_eq!(told(&effects), ["running the configuration of test.toml"]);
}

#[test]
fn a_dead_server_leaves_and_the_last_one_makes_room_for_the_sorry_server() {
    let mut node = ready();
    let effects = run(&mut node, at(5_000), |server| server != "10.1.0.21");
    assert_eq!(tables(&effects), [["10.1.0.22"]]);
    assert_eq!(told(&effects), ["real server 10.1.0.21:80 is down: connection refused (used by web)"]);
    let effects = run(&mut node, at(10_000), |_| false);
    assert_eq!(tables(&effects), [["10.1.0.99"]]);
    assert_eq!(
        told(&effects),
        [
            "real server 10.1.0.22:80 is down: connection refused (used by web)",
            "virtual server web has no real server left: sorry server 10.1.0.99:80 answers",
        ]
    );
    let effects = run(&mut node, at(15_000), |server| server == "10.1.0.22");
    assert_eq!(tables(&effects), [["10.1.0.22"]]);
    assert_eq!(told(&effects).last().map(String::as_str), Some("virtual server web has a real server again"));
}

#[test]
fn nothing_is_applied_while_nothing_changes() {
    let mut node = ready();
    let effects = run(&mut node, at(60_000), |_| true);
    assert_eq!(probes(&effects).len(), effects.len(), "probes and nothing else");
    assert!(effects.len() > 100);
    let again = node.handle(at(60_000), farm());
    let levels = |e: &&Effect| !matches!(e, Effect::Tell(_) | Effect::Probe(_));
    assert_eq!(again.iter().filter(levels).count(), 0, "{again:?}");
}

#[test]
fn a_successor_leaves_the_kernels_table_as_it_is() {
    let mut node = ready();
    let effects = run(&mut node, at(5_000), |server| server != "10.1.0.21");
    let saved = effects.iter().rev().find_map(|effect| {
        if let Effect::Save(snapshot) = effect { postcard::to_stdvec(snapshot).ok() } else { None }
    });
    let saved = saved.expect("a change was saved");
    let before = node.ipvs.clone();
    let mut successor = Node::resume(postcard::from_bytes(&saved).expect("the same"));
    let effects = successor.handle(at(5_200), farm());
    assert_eq!(successor.ipvs, before);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Save(_))), "what is saved is true");
    assert_eq!(tables(&effects), [["10.1.0.22"]]);
    let effects = run(&mut successor, at(9_000), |server| server != "10.1.0.21");
    assert_eq!(tables(&effects), Vec::<Vec<String>>::new(), "and goes on without a change");
}

#[test]
fn a_refused_configuration_changes_nothing_but_is_shown() {
    let mut node = ready();
    let before = node.ipvs.clone();
    let effects = node.handle(at(200), Event::ConfigRefused("new.toml:3: port 0".into()));
    assert_eq!(told(&effects), ["configuration refused, the running one goes on: new.toml:3: port 0"]);
    assert_eq!(node.ipvs, before);
    let shown = node.status(at(300), &Surroundings::default()).configuration;
    assert_eq!(shown, "test.toml; a newer one was refused: new.toml:3: port 0");
    node.handle(at(400), farm());
    assert_eq!(node.status(at(500), &Surroundings::default()).configuration, "test.toml");
}

#[test]
fn the_picture_joins_what_is_wanted_with_what_the_kernel_has() {
    let mut node = ready();
    run(&mut node, at(5_000), |server| server != "10.1.0.21");
    let mut around = Surroundings { hostname: "lb1".into(), ..Surroundings::default() };
    around.kernel.ipvs = node.ipvs.clone().expect("applied");
    let service = ServiceKey::Address { protocol: 6, address: [192, 0, 2, 100].into(), port: 80 };
    let server = DestinationKey { address: [10, 1, 0, 22].into(), port: 80 };
    around.kernel.connections = HashMap::from([((service, server), Connections { active: 7, inactive: 3 })]);
    let status = node.status(at(6_000), &around);
    assert_eq!(status.hostname, "lb1");
    let web = &status.services[0];
    assert!(web.in_kernel);
    assert_eq!(
        (web.servers[0].health, web.servers[0].detail.as_str()),
        (HealthWord::Down, "connection refused")
    );
    assert_eq!(
        (web.servers[1].health, web.servers[1].detail.as_str()),
        (HealthWord::Up, "answered in 1.2 ms")
    );
    assert_eq!((web.servers[1].active, web.servers[1].inactive), (7, 3));
    assert_eq!(web.servers.len(), 2, "the sorry server is not in use");
    let router = &status.routers[0];
    assert_eq!((router.for_, router.addresses[0].1), (Duration::from_secs(5), false));
    around.kernel.ipvs.services.clear();
    assert!(!node.status(at(6_000), &around).services[0].in_kernel);
}

/// A service with `count` real servers, all up.
fn large(count: u16) -> Node {
    let servers: String =
        (0..count).map(|n| format!("real-server.\"10.{}.{}.1:80\" = {{}}\n", n / 250, n % 250)).collect();
    let text = format!(
        "[virtual-server.web]\naddress = \"192.0.2.100\"\nport = 80\ncheck = {{ kind = \"tcp\", fall = 1 }}\n{servers}"
    );
    let mut node = Node::default();
    node.handle(at(0), Event::Config(Arc::new(toml::from_str(&text).expect("good")), "large".into()));
    run(&mut node, at(2_100), |_| true);
    node
}

#[test]
fn a_whole_farm_that_dies_at_once_is_a_few_changes_and_not_one_per_server() {
    let mut node = large(500);
    let effects = run(&mut node, at(4_500), |_| false);
    let tables = tables(&effects);
    assert_eq!(tables.last().map(Vec::len), Some(0), "all are out in the end");
    assert!(tables.len() <= 110, "{} tables in 2.4 s", tables.len());
    let downs = told(&effects).iter().filter(|text| text.contains("is down")).count();
    assert_eq!(downs, 500, "and each is told");
    assert_eq!(node.due, None);
}

#[test]
fn the_first_change_is_carried_out_at_once_and_the_next_within_the_pace() {
    let mut node = large(2);
    let flying: Vec<Probe> =
        [10_000, 10_010].into_iter().flat_map(|ms| probes(&node.handle(at(ms), Event::Timer))).collect();
    assert_eq!(flying.len(), 2);
    let now = at(10_100);
    let effects = node.handle(now, outcome(flying[0].id, false));
    assert_eq!(tables(&effects), [["10.0.1.1"]]);
    let effects = node.handle(now + Duration::from_millis(5), outcome(flying[1].id, false));
    assert_eq!(tables(&effects), Vec::<Vec<String>>::new());
    assert_eq!(node.deadline(), Some(now + PACE));
    let effects = node.handle(now + PACE, Event::Timer);
    assert_eq!(tables(&effects), [Vec::<String>::new()]);
}

#[test]
fn a_node_without_configuration_does_nothing() {
    let mut node = Node::default();
    for event in [Event::Timer, Event::ProberRestarted, roles(Role::Master), outcome(ProbeId(1), false)] {
        assert_eq!(node.handle(at(0), event), []);
    }
    assert_eq!(node.deadline(), None);
    assert_eq!(node.status(at(0), &Surroundings::default()).configuration, "none");
}
