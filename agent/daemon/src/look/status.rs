//! The picture of the box as text, in lines of at most 79 columns, plain ASCII.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bascule_core::config::model::Protocol;
use bascule_core::router::{Counters, Role};
use bascule_core::shell::table::{WIDTH, age, short, wrap};
use bascule_core::status::{HealthWord, ServerLine, ServiceLine, Status};

/// Width of the column of names.
const NAME: usize = 18;

/// A role in one word.
#[must_use]
pub const fn role_word(role: &Role) -> &'static str {
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

/// The virtual routers with their addresses and adverts.
pub fn routers(lines: &mut Vec<String>, status: &Status) {
    if status.routers.is_empty() {
        lines.push("no virtual routers".to_owned());
        return;
    }
    let (name, state, vrid) = ("VIRTUAL ROUTER", "STATE", "VRID");
    lines.push(format!("{name:<NAME$} {state:<7} {:>8} {vrid:>4} {:<15} PRIORITY", "FOR", "INTERFACE"));
    for router in &status.routers {
        // A long name has a line of its own.
        let mut name = router.name.as_str();
        if name.len() > NAME {
            lines.push(name.to_owned());
            name = "";
        }
        lines.push(format!(
            "{name:<NAME$} {:<7} {:>8} {:>4} {:<15} {}",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{crowded, router};

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
}
