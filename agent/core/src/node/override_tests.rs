//! What a command does to the table, the virtual routers and the notices of a running node.

use core::time::Duration;

use super::*;
use crate::health::Verdict;
use crate::overrides::{Operation, ServerOverride, ServiceOverride};
use crate::status::Surroundings;
use crate::vrrp::Stance;

const FARM: &str = r#"
[vrrp.web]
interface = "eth0"
vrid = 51
priority = 150
preempt-delay = "30s"
addresses = ["192.0.2.100/24"]

[virtual-server.web]
address = "192.0.2.100"
port = 80
sorry-server = "10.1.0.99:80"
check = { kind = "tcp", interval = "1s", timeout = "500ms", rise = 1, fall = 2 }
real-server."10.1.0.21:80" = { weight = 5 }
real-server."10.1.0.22:80" = { weight = 7 }
"#;

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn farm(text: &str) -> Event {
    Event::Config(Arc::new(toml::from_str(text).expect("a good configuration")), "test.toml".into())
}

fn user() -> Name {
    "admin".parse().expect("a name")
}

fn web() -> Name {
    "web".parse().expect("a name")
}

fn server(last: u8) -> Endpoint {
    format!("10.1.0.{last}:80").parse().expect("an endpoint")
}

fn on_server(last: u8, to: ServerOverride) -> Operation {
    Operation::RealServer { service: web(), server: server(last), to }
}

fn drain(seconds: Option<u64>) -> ServerOverride {
    ServerOverride::Drain { deadline: seconds.map(Duration::from_secs) }
}

/// Answers every probe in `effects`; `good` are the servers that answer well.
fn answer(node: &mut Node, now: Instant, effects: &[Effect], good: &[u8]) -> Vec<Effect> {
    let mut all = Vec::new();
    for effect in effects {
        if let Effect::Probe(probe) = effect {
            let up = good.iter().any(|last| server(*last).address == probe.target.ip());
            let verdict = if up { Verdict::Up } else { Verdict::Down("refused".into()) };
            let outcome = ProbeOutcome { id: probe.id, took: Duration::from_millis(1), verdict };
            all.extend(node.handle(now, Event::Probed(outcome)));
        }
    }
    all
}

/// Lets the node probe until `until`.
fn run(node: &mut Node, until: Instant, good: &[u8]) -> Vec<Effect> {
    let mut all = Vec::new();
    for _ in 0..1_000 {
        let Some(due) = node.deadline().filter(|due| *due <= until) else { return all };
        let effects = node.handle(due, Event::Timer);
        let answered = answer(node, due, &effects, good);
        all.extend(effects);
        all.extend(answered);
    }
    panic!("the node never rests")
}

fn ready() -> Node {
    let mut node = Node::default();
    let effects = node.handle(at(0), farm(FARM));
    answer(&mut node, at(0), &effects, &[21, 22]);
    run(&mut node, at(100), &[21, 22]);
    node
}

fn operate(node: &mut Node, now: Instant, operation: &Operation) -> Vec<Effect> {
    node.operate(now, &user(), operation).expect("it is done").1
}

/// The newest table in effects: last byte and weight of each destination.
fn table(effects: &[Effect]) -> Option<Vec<(u8, u16)>> {
    let tables = effects.iter().rev();
    let ipvs = tables.filter_map(|e| if let Effect::Apply(ipvs) = e { Some(ipvs) } else { None }).next()?;
    let destinations = ipvs.services.values().flat_map(|service| &service.destinations);
    let mut list: Vec<(u8, u16)> = destinations
        .map(|(key, to)| {
            let core::net::IpAddr::V4(address) = key.address else { panic!("IPv4 here") };
            (address.octets()[3], to.weight)
        })
        .collect();
    list.sort_unstable();
    Some(list)
}

fn told(effects: &[Effect]) -> Vec<String> {
    let tell = |e: &Effect| if let Effect::Tell(notice) = e { Some(notice.to_string()) } else { None };
    effects.iter().filter_map(tell).collect()
}

fn saved(effects: &[Effect]) -> Option<Snapshot> {
    effects.iter().rev().find_map(|e| if let Effect::Save(s) = e { Some(s.clone()) } else { None })
}

fn stance(effects: &[Effect]) -> Option<(Stance, u8, bool, Duration)> {
    let settings = effects.iter().find_map(|e| if let Effect::Routers(r) = e { r.first() } else { None })?;
    Some((settings.stance, settings.priority.get(), settings.preempt, settings.preempt_delay))
}

fn shown(node: &Node, now: Instant) -> [Option<String>; 3] {
    let mut around = Surroundings::default();
    around.kernel.ipvs = node.ipvs.clone().unwrap_or_default();
    let line = node.status(now, &around).services.remove(0);
    assert!(line.in_kernel, "wanted is what the kernel has, also when nothing is wanted");
    [line.overridden.clone(), line.servers[0].overridden.clone(), line.servers[1].overridden.clone()]
}

/// The kernel's counts for whoever drains.
fn counted(node: &Node, weight: u16, connections: u32) -> Event {
    Event::Counted(node.draining().into_iter().map(|d| (d, Some(Count { weight, connections }))).collect())
}

#[test]
fn a_drained_server_has_weight_0_until_the_kernel_counts_nothing_and_then_leaves() {
    let mut node = ready();
    let effects = operate(&mut node, at(500), &on_server(21, drain(None)));
    assert_eq!(table(&effects), Some(vec![(21, 0), (22, 7)]));
    assert_eq!(shown(&node, at(500))[1].as_deref(), Some("draining 0 connections"));
    let stale = counted(&node, 5, 0);
    assert_eq!(node.handle(at(501), stale), [], "a count from before the drain says nothing");
    let busy = counted(&node, 0, 1);
    assert_eq!(node.handle(at(502), busy), []);
    let missing = Event::Counted(node.draining().into_iter().map(|d| (d, None)).collect());
    assert_eq!(node.handle(at(503), missing), [], "the kernel does not have it yet");
    let empty = counted(&node, 0, 0);
    let effects = node.handle(at(504), empty);
    assert_eq!(table(&effects), Some(vec![(22, 7)]));
    assert!(told(&effects)[0].contains("10.1.0.21:80 of web is drained and halted"), "{effects:?}");
    assert_eq!(node.draining(), []);
    assert_eq!(shown(&node, at(505))[1].as_deref(), Some("halted"));
}

#[test]
fn a_drain_ends_at_its_deadline_by_the_timer() {
    let mut node = ready();
    operate(&mut node, at(1_000), &on_server(21, drain(Some(30))));
    let effects = run(&mut node, at(30_999), &[21, 22]);
    assert_eq!(table(&effects), None);
    let effects = run(&mut node, at(31_000), &[21, 22]);
    assert_eq!(table(&effects), Some(vec![(22, 7)]));
    assert!(told(&effects)[0].contains("the time to drain has passed"), "{effects:?}");
}

#[test]
fn a_drained_server_that_dies_has_nothing_left_to_drain() {
    let mut node = ready();
    operate(&mut node, at(1_000), &on_server(21, drain(None)));
    run(&mut node, at(6_000), &[22]);
    let gone = Event::Counted(node.draining().into_iter().map(|d| (d, None)).collect());
    let effects = node.handle(at(6_001), gone);
    assert!(told(&effects)[0].contains("drained and halted"), "{effects:?}");
    let effects = run(&mut node, at(12_000), &[21, 22]);
    assert_eq!(table(&effects), None, "health goes on, and does not bring it back");
    let effects = operate(&mut node, at(12_001), &on_server(21, ServerOverride::Enable));
    assert_eq!(table(&effects), Some(vec![(21, 5), (22, 7)]));
}

#[test]
fn a_service_whose_servers_are_all_overridden_is_one_without_servers() {
    let mut node = ready();
    operate(&mut node, at(1_000), &on_server(21, ServerOverride::Halt));
    let effects = operate(&mut node, at(1_001), &on_server(22, drain(None)));
    assert_eq!(table(&effects), Some(vec![(22, 0), (99, 1)]));
    assert!(
        told(&effects).iter().any(|text| text.contains("no real server left: sorry server 10.1.0.99:80")),
        "{effects:?}"
    );
    let effects = operate(&mut node, at(1_002), &on_server(21, ServerOverride::Enable));
    assert_eq!(table(&effects), Some(vec![(21, 5), (22, 0)]));
    assert!(told(&effects).iter().any(|text| text.contains("has a real server again")), "{effects:?}");
}

#[test]
fn a_sorry_service_keeps_its_connections_and_a_disabled_one_leaves_the_kernel() {
    let mut node = ready();
    let to = |to| Operation::Service { service: web(), to };
    let effects = operate(&mut node, at(1_000), &to(ServiceOverride::Sorry));
    assert_eq!(table(&effects), Some(vec![(21, 0), (22, 0), (99, 1)]));
    assert_eq!(shown(&node, at(1_000))[0].as_deref(), Some("sorry"));
    let effects = operate(&mut node, at(1_001), &to(ServiceOverride::Disable));
    assert_eq!(table(&effects), Some(vec![]));
    assert!(node.ipvs.as_ref().is_some_and(|ipvs| ipvs.services.is_empty()));
    assert_eq!(shown(&node, at(1_001))[0].as_deref(), Some("disabled"));
    assert!(!told(&effects).iter().any(|text| text.contains("again")), "{effects:?}");
    let effects = operate(&mut node, at(1_002), &to(ServiceOverride::Enable));
    assert_eq!(table(&effects), Some(vec![(21, 5), (22, 7)]));
    assert_eq!(shown(&node, at(1_002)), [None, None, None]);
}

#[test]
fn overrides_survive_a_restart_and_a_reload_and_the_table_is_the_same_at_once() {
    let mut node = ready();
    operate(&mut node, at(1_000), &on_server(21, drain(Some(100))));
    let effects = operate(&mut node, at(1_001), &Operation::Yield { router: None, lasting: None });
    let bytes = postcard::to_stdvec(&saved(&effects).expect("it is saved")).expect("bytes");
    let mut successor = Node::resume(postcard::from_bytes(&bytes).expect("the same"));
    let started = successor.routers(at(2_000), node.config().expect("configured"));
    let effects = successor.handle(at(2_000), farm(FARM));
    assert_eq!(table(&effects), Some(vec![(21, 0), (22, 7)]));
    assert_eq!(stance(&effects).map(|s| s.0), Some(Stance::Yield { told: at(1_001) }));
    assert_eq!(effects.iter().find(|e| matches!(e, Effect::Routers(_))), Some(&Effect::Routers(started)));
    assert!(saved(&effects).is_none(), "what is saved is true");
    let effects = successor.handle(at(2_001), farm(&FARM.replace("weight = 7", "weight = 9")));
    assert_eq!(table(&effects), Some(vec![(21, 0), (22, 9)]));
    let effects = run(&mut successor, at(101_000), &[21, 22]);
    assert_eq!(table(&effects), Some(vec![(22, 9)]), "the deadline is that of the command");
}

#[test]
fn a_real_server_that_leaves_the_configuration_takes_its_override_along() {
    let mut node = ready();
    operate(&mut node, at(1_000), &on_server(21, ServerOverride::Halt));
    let effects =
        node.handle(at(2_000), farm(&FARM.replace("real-server.\"10.1.0.21:80\" = { weight = 5 }", "")));
    assert!(
        told(&effects).iter().any(|text| text.contains("10.1.0.21:80 of web is not in the")),
        "{effects:?}"
    );
    let effects = node.handle(at(3_000), farm(FARM));
    assert!(told(&effects).len() == 1, "{effects:?}");
    let effects = run(&mut node, at(6_000), &[21, 22]);
    assert_eq!(table(&effects), Some(vec![(21, 5), (22, 7)]));
}

#[test]
fn yield_takeover_and_maintenance_become_settings_of_the_virtual_routers() {
    let mut node = ready();
    let delay = Duration::from_secs(30);
    let told = at(1_000);
    let routers = |node: &mut Node, operation| stance(&operate(node, told, &operation));
    let lasting = Some(Duration::from_secs(60));
    let yields = Operation::Yield { router: Some(web()), lasting };
    assert_eq!(routers(&mut node, yields), Some((Stance::Yield { told }, 150, false, delay)));
    let takes = Operation::Takeover { router: None, lasting };
    assert_eq!(routers(&mut node, takes), Some((Stance::Takeover { told }, 254, true, Duration::ZERO)));
    assert_eq!(
        routers(&mut node, Operation::Maintenance(true)),
        Some((Stance::Aside { told }, 150, false, delay))
    );
    assert!(node.status(told, &Surroundings::default()).maintenance);
    assert_eq!(
        routers(&mut node, Operation::Maintenance(false)),
        Some((Stance::Takeover { told }, 254, true, Duration::ZERO))
    );
    let effects = run(&mut node, at(61_000), &[21, 22]);
    assert_eq!(stance(&effects), Some((Stance::Normal, 150, true, delay)), "back after its time");
}

#[test]
fn a_refused_command_changes_nothing_and_tells_nobody() {
    let mut node = ready();
    let before = node.overrides.clone();
    let lines = node.operate(at(1_000), &user(), &on_server(29, ServerOverride::Halt));
    assert!(lines.is_err_and(|lines| lines.len() == 4));
    assert_eq!(node.overrides, before);
}
