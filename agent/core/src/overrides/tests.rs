use super::*;
use crate::config::Config;
use crate::notice::Notice;
use crate::time::Instant;
use crate::vrrp::Stance;

const PAIR: &str = r#"
[vrrp.front]
interface = "eth0"
vrid = 51
addresses = ["192.0.2.100/24"]

[vrrp.own]
interface = "eth0"
vrid = 52
priority = 255
addresses = ["192.0.2.11/24"]

[virtual-server.web]
address = "192.0.2.100"
port = 80
real-server."10.1.0.21:80" = {}
real-server."10.1.0.22:80" = {}

[virtual-server.dns]
address = "192.0.2.100"
port = 53
protocol = "udp"
sorry-server = "10.1.0.99:53"
real-server."10.1.0.21:53" = {}
"#;

fn config(text: &str) -> Config {
    toml::from_str(text).expect("a good configuration")
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn server(text: &str) -> Endpoint {
    text.parse().expect("an endpoint")
}

fn on_server(service: &str, at: &str, to: ServerOverride) -> Operation {
    Operation::RealServer { service: name(service), server: server(at), to }
}

fn on_service(service: &str, to: ServiceOverride) -> Operation {
    Operation::Service { service: name(service), to }
}

fn yields(router: Option<&str>, lasting: Option<u64>) -> Operation {
    Operation::Yield { router: router.map(name), lasting: lasting.map(Duration::from_secs) }
}

fn drain(deadline: Option<u64>) -> ServerOverride {
    ServerOverride::Drain { deadline: deadline.map(Duration::from_secs) }
}

/// Overrides after these commands, each at second 0.
fn told(operations: &[Operation]) -> Overrides {
    let mut overrides = Overrides::default();
    for operation in operations {
        overrides.operate(at(0), &config(PAIR), operation).expect("it is done");
    }
    overrides
}

fn refused(operation: &Operation) -> Vec<String> {
    let mut overrides = Overrides::default();
    let lines = overrides.operate(at(0), &config(PAIR), operation).expect_err("it is refused");
    assert_eq!(overrides, Overrides::default(), "and nothing has changed");
    lines
}

fn words(overrides: &Overrides, seconds: u64, connections: u32) -> Option<String> {
    overrides.server_words(at(seconds), &name("web"), &server("10.1.0.21:80"), connections)
}

#[test]
fn unknown_names_are_refused_with_what_exists() {
    assert_eq!(
        refused(&on_server("wbe", "10.1.0.21:80", ServerOverride::Halt)),
        ["there is no virtual server wbe", "the virtual servers are:", "  dns", "  web"]
    );
    assert_eq!(
        refused(&on_server("web", "10.1.0.29:80", drain(None))),
        [
            "virtual server web has no real server 10.1.0.29:80",
            "the real servers are:",
            "  10.1.0.21:80",
            "  10.1.0.22:80"
        ]
    );
    assert_eq!(refused(&on_service("wbe", ServiceOverride::Disable))[0], "there is no virtual server wbe");
    assert_eq!(
        refused(&yields(Some("back"), None)),
        ["there is no virtual router back", "the virtual routers are:", "  front", "  own"]
    );
    let mut nobody = Overrides::default();
    let lines = nobody.operate(at(0), &Config::default(), &yields(None, None)).expect_err("it is refused");
    assert_eq!(lines, ["this box has no virtual router"]);
}

#[test]
fn a_long_list_of_what_exists_is_cut_and_counted() {
    let many: String = (0..20)
        .map(|n| format!("[virtual-server.s{n:02}]\naddress = \"192.0.2.1\"\nport = {}\n", n + 1))
        .collect();
    let mut overrides = Overrides::default();
    let operation = on_service("web", ServiceOverride::Disable);
    let lines = overrides.operate(at(0), &config(&many), &operation).expect_err("it is refused");
    assert_eq!(lines.len(), 11);
    assert_eq!(lines.last().map(String::as_str), Some("  and 12 more"));
}

#[test]
fn a_service_without_a_sorry_server_is_not_sorry_and_the_way_out_is_told() {
    let lines = refused(&on_service("web", ServiceOverride::Sorry));
    assert_eq!(lines[0], "virtual server web has no sorry server");
    assert!(lines[1].contains("set virtual-server web sorry-server"), "{lines:?}");
    let overrides = told(&[on_service("dns", ServiceOverride::Sorry)]);
    assert_eq!(overrides.service(&name("dns")), Some(ServiceState::Sorry));
}

#[test]
fn an_owner_is_refused_by_name_and_left_out_of_all() {
    assert!(refused(&yields(Some("own"), None))[0].contains("own owns its addresses"));
    let overrides = told(&[yields(None, None)]);
    assert_eq!(overrides.stance(&name("front")), Stance::Yield { told: at(0) });
    assert_eq!(overrides.stance(&name("own")), Stance::Normal);
}

#[test]
fn a_drain_shows_what_is_left_and_ends_as_halted_at_its_deadline_to_the_nanosecond() {
    let mut overrides = told(&[on_server("web", "10.1.0.21:80", drain(Some(300)))]);
    assert_eq!(words(&overrides, 50, 12).as_deref(), Some("draining 12 connections, 4:10 left"));
    assert_eq!(words(&overrides, 50, 1).as_deref(), Some("draining 1 connection, 4:10 left"));
    assert_eq!(overrides.deadline(), Some(at(300)));
    assert_eq!(overrides.expire(at(300) - Duration::from_nanos(1)), []);
    let halted = Notice::Halted { service: name("web"), server: server("10.1.0.21:80"), drained: false };
    assert_eq!(overrides.expire(at(300)), [halted]);
    assert_eq!(words(&overrides, 301, 12).as_deref(), Some("halted"));
    assert_eq!((overrides.deadline(), overrides.expire(at(900))), (None, vec![]));
}

#[test]
fn a_drain_without_a_deadline_waits_for_the_last_connection_only() {
    let mut overrides = told(&[on_server("web", "10.1.0.21:80", drain(None))]);
    assert_eq!(words(&overrides, 9_000_000, 3).as_deref(), Some("draining 3 connections"));
    assert_eq!((overrides.deadline(), overrides.expire(at(9_000_000))), (None, vec![]));
    let halted = Notice::Halted { service: name("web"), server: server("10.1.0.21:80"), drained: true };
    assert_eq!(overrides.drained(&name("web"), &server("10.1.0.21:80")), Some(halted));
    assert_eq!(overrides.drained(&name("web"), &server("10.1.0.21:80")), None, "once");
    assert_eq!(overrides.drained(&name("web"), &server("10.1.0.22:80")), None, "and no other");
}

#[test]
fn enable_takes_back_what_it_names_and_nothing_else() {
    let both = [
        on_server("web", "10.1.0.21:80", ServerOverride::Halt),
        on_server("web", "10.1.0.22:80", drain(None)),
        on_service("dns", ServiceOverride::Disable),
    ];
    let mut overrides = told(&both);
    let one = on_server("web", "10.1.0.21:80", ServerOverride::Enable);
    overrides.operate(at(1), &config(PAIR), &one).expect("it is done");
    assert_eq!(overrides, told(&both[1..]));
    for back in
        [on_server("web", "10.1.0.22:80", ServerOverride::Enable), on_service("dns", ServiceOverride::Enable)]
    {
        overrides.operate(at(1), &config(PAIR), &back).expect("it is done");
    }
    assert_eq!(overrides, Overrides::default());
}

#[test]
fn what_leaves_the_configuration_is_forgotten_and_told_and_the_rest_stays() {
    let mut overrides = told(&[
        on_server("web", "10.1.0.21:80", ServerOverride::Halt),
        on_server("web", "10.1.0.22:80", ServerOverride::Halt),
        on_service("dns", ServiceOverride::Disable),
        yields(Some("front"), None),
        Operation::Maintenance(true),
    ]);
    assert_eq!(overrides.retain(&config(PAIR)), []);
    let less = PAIR.replace("real-server.\"10.1.0.21:80\" = {}\n", "").replace(".dns]", ".names]");
    let less = less.replace("[vrrp.front]", "[vrrp.other]");
    let gone: Vec<String> = overrides.retain(&config(&less)).iter().map(ToString::to_string).collect();
    assert_eq!(gone.len(), 3, "{gone:?}");
    assert!(gone[0].starts_with("real server 10.1.0.21:80 of web is not in the configuration any more"));
    assert!(gone[1].starts_with("virtual server dns ") && gone[2].starts_with("virtual router front "));
    assert_eq!(words(&overrides, 0, 0), None);
    assert!(overrides.servers(&name("web")).is_some_and(|left| left.len() == 1));
    assert!(overrides.maintenance(), "which concerns the box");
}

#[test]
fn a_yield_for_a_time_ends_by_itself_and_is_told() {
    let mut overrides = told(&[yields(None, Some(600))]);
    let front = name("front");
    assert_eq!(overrides.router_words(at(350), &front, false).as_deref(), Some("yielded, 4:10 left"));
    assert_eq!(overrides.router_words(at(350), &front, true).as_deref(), Some("told to yield, 4:10 left"));
    assert_eq!(overrides.expire(at(599)), []);
    assert_eq!(overrides.expire(at(600)), [Notice::RouterNormal { router: front.clone() }]);
    assert_eq!(overrides.stance(&front), Stance::Normal);
    assert_eq!(overrides, Overrides::default());
}

#[test]
fn a_command_that_is_repeated_is_another_stance() {
    let mut overrides = told(&[yields(None, None)]);
    let first = overrides.stance(&name("front"));
    overrides.operate(at(7), &config(PAIR), &yields(None, None)).expect("it is done");
    assert_ne!(overrides.stance(&name("front")), first);
}

#[test]
fn a_system_on_trial_stays_behind_unless_somebody_says_otherwise() {
    let mut overrides = Overrides::default();
    overrides.set_trial(at(3), true);
    overrides.set_trial(at(5), true);
    let front = name("front");
    assert_eq!(overrides.stance(&front), Stance::Yield { told: at(3) });
    assert_eq!(overrides.router_words(at(9), &front, false).as_deref(), Some("behind while on trial"));
    let takeover = Operation::Takeover { router: Some(front.clone()), lasting: None };
    overrides.operate(at(6), &config(PAIR), &takeover).expect("it is done");
    assert_eq!(overrides.stance(&front), Stance::Takeover { told: at(6) });
    overrides.set_maintenance(at(7), true);
    assert_eq!(overrides.stance(&front), Stance::Aside { told: at(7) });
    let mut over = Overrides::default();
    over.set_trial(at(3), true);
    over.set_trial(at(9), false);
    assert_eq!((over.stance(&front), over.trial()), (Stance::Normal, false));
}

#[test]
fn maintenance_comes_before_yield_and_takeover_and_they_are_refused_in_it() {
    let front = name("front");
    let mut overrides = told(&[yields(None, Some(60)), Operation::Maintenance(true)]);
    assert_eq!(overrides.stance(&front), Stance::Aside { told: at(0) });
    overrides.set_maintenance(at(9), true);
    assert_eq!(overrides.stance(&front), Stance::Aside { told: at(0) }, "it is in it since then");
    let takeover = Operation::Takeover { router: None, lasting: None };
    let lines = overrides.operate(at(9), &config(PAIR), &takeover).expect_err("it is refused");
    assert!(lines[1].contains("maintenance leave"), "{lines:?}");
    let left = overrides.operate(at(9), &config(PAIR), &Operation::Maintenance(false));
    assert!(left.is_ok());
    assert_eq!(overrides.stance(&front), Stance::Yield { told: at(0) }, "and what was before is back");
}

#[test]
fn every_answer_fits_a_console() {
    let mut overrides = Overrides::default();
    let long = "a234567890123456789012345678901";
    let text = PAIR.replace(".web]", &format!(".{long}]"));
    let day = Some(86_400);
    for operation in [
        on_server(long, "10.1.0.22:80", drain(day)),
        on_server(long, "10.1.0.22:80", drain(None)),
        on_server(long, "10.1.0.21:80", ServerOverride::Halt),
        on_server(long, "10.1.0.21:80", ServerOverride::Enable),
        on_service("dns", ServiceOverride::Sorry),
        on_service(long, ServiceOverride::Disable),
        yields(None, day),
        Operation::Maintenance(true),
        Operation::Maintenance(false),
    ] {
        let done = overrides.operate(at(0), &config(&text), &operation).expect("it is done");
        assert!(done.is_ascii() && done.lines().all(|line| line.len() <= 79), "{done}");
    }
}

#[test]
fn a_clock_runs_in_whole_seconds_and_never_shows_zero_before_the_end() {
    for (millis, text) in [
        (0, "0:00"),
        (1, "0:01"),
        (9_000, "0:09"),
        (250_000, "4:10"),
        (3_599_001, "1:00:00"),
        (3_723_000, "1:02:03"),
    ] {
        assert_eq!(clock(Duration::from_millis(millis)), text);
    }
}

#[test]
fn overrides_survive_as_bytes() {
    let overrides = told(&[
        on_server("web", "10.1.0.21:80", drain(Some(300))),
        on_server("web", "10.1.0.22:80", ServerOverride::Halt),
        on_service("dns", ServiceOverride::Sorry),
        yields(None, Some(600)),
        Operation::Maintenance(true),
    ]);
    let bytes = postcard::to_stdvec(&overrides).expect("bytes");
    assert_eq!(postcard::from_bytes::<Overrides>(&bytes), Ok(overrides));
}
