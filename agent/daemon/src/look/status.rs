//! The picture of the box as text, in lines of at most 79 columns, plain ASCII.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bascule_core::config::model::Protocol;
use bascule_core::router::{Counters, Role, Roles};
use bascule_core::shell::table::{WIDTH, age, short, wrap};
use bascule_core::status::{HealthWord, ServerLine, ServiceLine, Status};

/// `lb1(MASTER)`: the host and its role, for the prompt. With several roles at once all are named.
#[must_use]
pub fn prompt(hostname: &str, roles: &Roles) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in ["MASTER", "BACKUP", "FAULT"] {
        if roles.routers.values().any(|router| role_word(&router.role) == word) {
            words.push(word);
        }
    }
    if words.is_empty() { hostname.to_owned() } else { format!("{hostname}({})", words.join("+")) }
}

const fn role_word(role: &Role) -> &'static str {
    match role {
        Role::Master => "MASTER",
        Role::Backup => "BACKUP",
        Role::Fault(_) => "FAULT",
    }
}

/// `show status`.
#[must_use]
pub fn status(status: &Status) -> Vec<String> {
    let mut lines = vec![
        format!("{}, Bascule {}", status.hostname, status.version),
        format!("up: box {}, agent {}", age(status.box_uptime), age(status.agent_uptime)),
    ];
    wrap(&mut lines, "configuration: ", &status.configuration);
    for problem in &status.problems {
        wrap(&mut lines, "PROBLEM: ", problem);
    }
    if status.maintenance {
        lines.push("MAINTENANCE: this box holds no virtual address until it is left".to_owned());
    }
    lines.push(String::new());
    routers(&mut lines, status);
    lines.push(String::new());
    services(&mut lines, &status.services);
    lines.push(String::new());
    let sync = if status.sync.is_empty() { "off".to_owned() } else { status.sync.join(", ") };
    wrap(&mut lines, "connection sync: ", &sync);
    let late = &status.lateness;
    lines.push(format!(
        "adverts: {} sent, late by {} on average, {} at worst",
        late.sent,
        short(late.mean),
        short(late.worst)
    ));
    let state =
        if status.problems.is_empty() { "as wanted" } else { "NOT as wanted, see the problems above" };
    lines.push(format!("kernel: {state}"));
    lines.push(format!("repairs: {} after changes by others", status.repairs));
    lines
}

fn routers(lines: &mut Vec<String>, status: &Status) {
    if status.routers.is_empty() {
        lines.push("no virtual routers".to_owned());
        return;
    }
    let (name, state, vrid) = ("VIRTUAL ROUTER", "STATE", "VRID");
    lines.push(format!("{name:<18} {state:<7} {:>8} {vrid:>4} {:<15} PRIORITY", "FOR", "INTERFACE"));
    for router in &status.routers {
        lines.push(format!(
            "{:<18} {:<7} {:>8} {:>4} {:<15} {}",
            cut(router.name.as_str(), 18),
            role_word(&router.status.role),
            age(router.for_),
            router.vrid,
            router.interface.as_str(),
            router.status.priority,
        ));
        overridden(lines, "  ", router.overridden.as_deref());
        if let Role::Fault(reason) = &router.status.role {
            wrap(lines, "  fault: ", reason);
        }
        if let Some(master) = router.status.master {
            let priority = router.status.master_priority.map(|p| format!(", priority {p}"));
            lines.push(format!("  master is {master}{}", priority.unwrap_or_default()));
        }
        for (prefix, held) in &router.addresses {
            let word = match (router.status.role == Role::Master, held) {
                (true, true) => "held",
                (true, false) => "MISSING",
                (false, false) => "not held",
                (false, true) => "STILL HELD",
            };
            lines.push(format!("  {prefix} {word}"));
        }
        if let Some(counters) = status.adverts.routers.get(&router.name) {
            wrap(lines, "  adverts: ", &adverts(counters));
        }
    }
    for (reason, times) in &status.adverts.refused {
        wrap(lines, "refused: ", &format!("{times} VRRP messages: {reason}"));
    }
}

/// What was sent and received, and what was odd about it, if anything.
fn adverts(counters: &Counters) -> String {
    let mut text = format!(
        "{} sent, {} received, {} times Master",
        counters.sent, counters.received, counters.became_master
    );
    for (times, what) in [
        (counters.late, "late by a whole interval"),
        (counters.rivals, "from a second Master of lower rank"),
        (counters.interval_differs, "with another interval"),
        (counters.addresses_differ, "with other addresses"),
    ] {
        if times > 0 {
            let _ = write!(text, "; {times} {what}");
        }
    }
    text
}

fn services(lines: &mut Vec<String>, services: &[ServiceLine]) {
    if services.is_empty() {
        lines.push("no virtual servers".to_owned());
    }
    for service in services {
        let protocol = match service.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let socket = SocketAddr::new(service.address, service.port);
        let kernel = if service.in_kernel { "in kernel" } else { "NOT IN KERNEL AS WANTED" };
        let scheduler = &service.scheduler;
        lines.push(format!("virtual server {}, {kernel}", service.name));
        lines.push(format!("  {protocol} {socket} {scheduler}"));
        overridden(lines, "  ", service.overridden.as_deref());
        let (active, inactive) = ("ACTIVE", "INACTIVE");
        lines.push(format!(
            "  {:<23} {:>6} {:<7} {active:>8} {inactive:>8} DETAIL",
            "REAL SERVER", "WEIGHT", "HEALTH"
        ));
        service.servers.iter().for_each(|server| server_line(lines, server));
        if service.servers.is_empty() {
            lines.push("  none".to_owned());
        }
    }
}

fn server_line(lines: &mut Vec<String>, server: &ServerLine) {
    let health = match server.health {
        HealthWord::Unchecked if server.sorry => "sorry",
        HealthWord::Unchecked => "-",
        HealthWord::Pending => "pending",
        HealthWord::Up => "up",
        HealthWord::Down => "DOWN",
    };
    let mut endpoint = server.endpoint.to_string();
    if endpoint.len() > 23 {
        lines.push(format!("  {endpoint}"));
        endpoint = String::new();
    }
    let (weight, active, inactive) = (server.weight, server.active, server.inactive);
    let head = format!("  {endpoint:<23} {weight:>6} {health:<7} {active:>8} {inactive:>8} ");
    if head.len() + server.detail.len() <= WIDTH && server.detail.is_ascii() {
        lines.push(format!("{head}{}", server.detail).trim_end().to_owned());
    } else {
        lines.push(head.trim_end().to_owned());
        wrap(lines, "      ", &server.detail);
    }
    overridden(lines, "      ", server.overridden.as_deref());
}

/// What an operator made of it, beside the configuration.
fn overridden(lines: &mut Vec<String>, indent: &str, words: Option<&str>) {
    if let Some(words) = words {
        wrap(lines, &format!("{indent}OVERRIDE: "), words);
    }
}

fn cut(text: &str, width: usize) -> &str {
    text.get(..width).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::router::{RouterStatus, Statistics};
    use bascule_core::status::{Lateness, RouterLine};
    use bascule_core::time::Instant;
    use bascule_core::wire::vrrp::RefusedAdvert;

    fn router(role: Role) -> RouterStatus {
        RouterStatus {
            role,
            since: Instant::ZERO,
            master: Some("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()),
            master_priority: Some(254),
            priority: 200,
            interval: Duration::from_secs(1),
        }
    }

    fn crowded() -> Status {
        let long = "x".repeat(200);
        let server = |detail: &str, endpoint: &str| ServerLine {
            endpoint: endpoint.parse().unwrap(),
            weight: 65_535,
            health: HealthWord::Down,
            detail: detail.to_owned(),
            sorry: false,
            active: 4_000_000_000,
            inactive: 4_000_000_000,
            overridden: Some(format!("draining {}", u32::MAX)),
        };
        let counters = Counters { sent: u64::MAX, rivals: u64::MAX, late: 0, ..Counters::default() };
        Status {
            hostname: "lb1".into(),
            version: "0.1.0".into(),
            agent_uptime: Duration::from_secs(3_900),
            box_uptime: Duration::from_secs(90_000),
            configuration: format!("/data/config/bascule.toml; a newer one was refused: {long}"),
            routers: vec![RouterLine {
                name: "a234567890123456789012345678901".parse().unwrap(),
                interface: "averylongname15".parse().unwrap(),
                vrid: 255,
                status: router(Role::Fault(format!("interface eth7 does not exist {long} \u{e9}\x1b[2J"))),
                for_: Duration::from_secs(61),
                addresses: vec![("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128".parse().unwrap(), true)],
                overridden: Some("yielded, 8760:00:00 left".into()),
            }],
            services: vec![ServiceLine {
                name: "a234567890123456789012345678901".parse().unwrap(),
                protocol: Protocol::Udp,
                address: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
                port: 65_535,
                scheduler: "abcdefghijklmno".into(),
                in_kernel: false,
                servers: vec![
                    server("connection refused", "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
                    server("not probed: this box is short of resources", "255.255.255.255:65535"),
                ],
                overridden: Some("sorry, but it has no sorry server".into()),
            }],
            sync: vec!["master averylongname15 id 255".into(), "backup averylongname15 id 255".into()],
            lateness: Lateness {
                sent: u64::MAX,
                mean: Duration::from_micros(12),
                worst: Duration::from_micros(2_345),
            },
            problems: vec!["cannot add 10.0.0.1/24 to eth0: no such device ".repeat(4)],
            repairs: u64::MAX,
            adverts: Statistics {
                routers: [("a234567890123456789012345678901".parse().unwrap(), counters)].into(),
                refused: [(RefusedAdvert::OwnAddress, u64::MAX)].into(),
            },
            maintenance: true,
        }
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_all_is_plain_ascii() {
        for line in status(&crowded()) {
            assert!(line.len() <= WIDTH, "{}: {line}", line.len());
            assert!(line.bytes().all(|b| (0x20..0x7f).contains(&b)), "{line}");
        }
    }

    #[test]
    fn an_address_that_contradicts_the_role_stands_out() {
        let text = status(&crowded()).join("\n");
        assert!(text.contains("STILL HELD") && text.contains("NOT IN KERNEL AS WANTED"), "{text}");
        let mut master = crowded();
        master.routers[0].status = router(Role::Master);
        master.routers[0].addresses[0].1 = false;
        assert!(status(&master).join("\n").contains("MISSING"));
    }

    #[test]
    fn odd_adverts_are_shown_and_only_those() {
        let text = status(&crowded()).join(" ");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("from a second Master") && text.contains("own address"), "{text}");
        assert!(!text.contains("late by a whole interval"), "{text}");
    }

    #[test]
    fn the_prompt_names_every_role_there_is() {
        let mut roles = Roles::default();
        assert_eq!(prompt("lb1", &roles), "lb1");
        roles.routers.insert("a".parse().unwrap(), router(Role::Backup));
        assert_eq!(prompt("lb1", &roles), "lb1(BACKUP)");
        roles.routers.insert("b".parse().unwrap(), router(Role::Master));
        roles.routers.insert("c".parse().unwrap(), router(Role::Fault("no link".into())));
        assert_eq!(prompt("lb1", &roles), "lb1(MASTER+BACKUP+FAULT)");
    }
}
