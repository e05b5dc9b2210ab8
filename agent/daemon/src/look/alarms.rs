//! `show alarms`: what is wrong now, worst first, from everybody who can tell.

use std::time::Duration;

use bascule_core::control::{Reply, Request, Standing};
use bascule_core::router::Role;
use bascule_core::shell::report::Report;
use bascule_core::shell::table::{Table, binary};
use bascule_core::status::{HealthWord, Status};
use serde_json::json;

use super::files::Files;
use super::{ask_status, journal, system};
use crate::init;
use crate::shell::Agent;
use crate::sys;

/// A disk that is fuller than this (percent) will be full.
const DISK: u64 = 90;
/// Less free memory than this part of all is too little.
const MEMORY_PART: u64 = 20;
/// This near its limit (thousandths of a degree) hardware is too hot.
const HEAT: i64 = 10_000;
/// Errors of the log that are younger than this still count.
const RECENT: Duration = Duration::from_secs(600);
/// Errors of the log that are told.
const ERRORS: usize = 5;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    /// Service fails, or is about to.
    Critical,
    /// Something does not work.
    Major,
    /// Somebody should know.
    Minor,
}

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::Major => "major",
            Self::Minor => "minor",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Alarm {
    severity: Severity,
    source: &'static str,
    text: String,
}

/// `show alarms`.
#[must_use]
pub fn show(files: &Files, agent: &dyn Agent) -> Report {
    let mut alarms = Vec::new();
    match ask_status("its alarms", agent) {
        Ok(status) => of_status(&mut alarms, &status),
        Err(error) => add(&mut alarms, Severity::Critical, "agent", error.to_string()),
    }
    if let Ok(Reply::Standing(standing)) = agent.ask(&Request::Standing(None)) {
        of_standing(&mut alarms, &standing);
    }
    of_box(&mut alarms, files);
    if sys::clock_synchronised() == Some(false) {
        let text = "the clock is not synchronised with a time server".to_owned();
        add(&mut alarms, Severity::Minor, "clock", text);
    }
    let log = journal::read(500, agent).unwrap_or_default();
    of_log(&mut alarms, &log, system::uptime(files).unwrap_or_default());
    report(alarms)
}

fn add(alarms: &mut Vec<Alarm>, severity: Severity, source: &'static str, text: String) {
    // Init's alarms reach us by the agent as well.
    if !alarms.iter().any(|alarm| alarm.text == text) {
        alarms.push(Alarm { severity, source, text });
    }
}

fn of_status(alarms: &mut Vec<Alarm>, status: &Status) {
    for problem in &status.problems {
        add(alarms, Severity::Major, "kernel", problem.clone());
    }
    if let Some((_, reason)) = status.configuration.split_once("refused: ") {
        add(alarms, Severity::Major, "configuration", format!("the newest one was refused: {reason}"));
    }
    for router in &status.routers {
        let name = &router.name;
        match &router.status.role {
            Role::Fault(reason) => {
                add(
                    alarms,
                    Severity::Critical,
                    "vrrp",
                    format!("virtual router {name} is in Fault: {reason}"),
                );
            }
            Role::Master => {
                for (prefix, _) in router.addresses.iter().filter(|(_, held)| !held) {
                    let text = format!("virtual router {name} is Master, and {prefix} is missing");
                    add(alarms, Severity::Critical, "vrrp", text);
                }
            }
            Role::Backup => {
                for (prefix, _) in router.addresses.iter().filter(|(_, held)| *held) {
                    let text = format!("virtual router {name} is Backup, and {prefix} is still held");
                    add(alarms, Severity::Critical, "vrrp", text);
                }
            }
        }
    }
    for router in &status.routers {
        if let Some(words) = &router.overridden {
            add(alarms, Severity::Minor, "operator", format!("virtual router {}: {words}", router.name));
        }
    }
    for service in &status.services {
        let name = &service.name;
        let servers: Vec<_> = service.servers.iter().filter(|server| !server.sorry).collect();
        let down: Vec<_> = servers.iter().filter(|server| server.health == HealthWord::Down).collect();
        if !servers.is_empty() && down.len() == servers.len() {
            let sorry = if service.servers.iter().any(|server| server.sorry) {
                ", the sorry server answers"
            } else {
                ""
            };
            let text = format!("virtual server {name} has no healthy real server{sorry}");
            add(alarms, Severity::Critical, "health", text);
        }
        for server in down {
            let text = format!("real server {} of {name} is down: {}", server.endpoint, server.detail);
            add(alarms, Severity::Major, "health", text);
        }
        if let Some(words) = &service.overridden {
            add(alarms, Severity::Minor, "operator", format!("virtual server {name}: {words}"));
        }
        for server in &service.servers {
            if let Some(words) = &server.overridden {
                let text = format!("real server {} of {name}: {words}", server.endpoint);
                add(alarms, Severity::Minor, "operator", text);
            }
        }
        if !service.in_kernel {
            let text = format!("virtual server {name} is not in the kernel as wanted");
            add(alarms, Severity::Major, "kernel", text);
        }
    }
}

fn of_standing(alarms: &mut Vec<Alarm>, standing: &Standing) {
    if standing.failsafe {
        let text = "failsafe: no configuration of the operator could be used".to_owned();
        add(alarms, Severity::Critical, "configuration", text);
    }
    if standing.maintenance {
        let text = "in maintenance: this box holds no virtual address".to_owned();
        add(alarms, Severity::Minor, "operator", text);
    }
    if let Some(left) = standing.confirm {
        let text = format!("the commit is not confirmed: it goes back in {} s", left.as_secs());
        add(alarms, Severity::Minor, "configuration", text);
    }
    if let Some(version) = &standing.testing {
        add(alarms, Severity::Minor, "update", format!("version {version} is on trial"));
    }
}

fn of_box(alarms: &mut Vec<Alarm>, files: &Files) {
    let left = files.read(init::ALARMS).unwrap_or_default();
    for line in left.lines().filter(|line| !line.trim().is_empty()) {
        add(alarms, Severity::Major, "init", line.to_owned());
    }
    if let Some(space) = system::space(&files.path(system::DATA))
        && space.used_percent() >= DISK
    {
        let free = binary(space.free);
        let text = format!("the data partition is {}% full, {free} are left", space.used_percent());
        add(alarms, Severity::Major, "disk", text);
    }
    let memory = system::Memory::parse(&files.read("/proc/meminfo").unwrap_or_default());
    if memory.available < memory.total / MEMORY_PART {
        let (available, total) = (binary(memory.available), binary(memory.total));
        add(alarms, Severity::Major, "memory", format!("only {available} of {total} memory are free"));
    }
    for one in system::temperatures(files) {
        if one.critical.is_some_and(|critical| critical > 0 && one.milli_celsius >= critical - HEAT) {
            let text = format!("{} is at {} C", one.sensor, one.milli_celsius / 1_000);
            add(alarms, Severity::Critical, "temperature", text);
        }
    }
}

/// The latest different errors.
fn of_log(alarms: &mut Vec<Alarm>, log: &[String], uptime: Duration) {
    let since = uptime.saturating_sub(RECENT).as_secs_f64();
    let errors = log.iter().rev().filter_map(|entry| journal::parse(entry));
    let recent = errors.filter(|(time, severity, _)| *severity == "error" && *time >= since);
    let before = alarms.len();
    for (_, _, text) in recent {
        if alarms.len() - before < ERRORS {
            add(alarms, Severity::Major, "log", text.to_owned());
        }
    }
}

fn report(mut alarms: Vec<Alarm>) -> Report {
    alarms.sort_by_key(|alarm| alarm.severity);
    let mut table = Table::new(&["SEVERITY", "FROM", "ALARM"]);
    for alarm in &alarms {
        table.row([alarm.severity.word().to_owned(), alarm.source.to_owned(), alarm.text.clone()]);
    }
    let mut lines = table.lines();
    if lines.is_empty() {
        lines.push("no alarms".to_owned());
    }
    let json = |alarm: &Alarm| {
        json!({
            "severity": alarm.severity.word().to_lowercase(),
            "source": alarm.source,
            "text": alarm.text,
        })
    };
    Report { lines, json: json!({ "alarms": alarms.iter().map(json).collect::<Vec<_>>() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{Answers, Dead, at, crowded, files, fits};

    #[test]
    fn the_worst_comes_first_and_every_source_is_heard() {
        let (_kept, files) = files(&[
            ("/run/bascule/alarms", "no data partition\n"),
            ("/proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 10000 kB\n"),
            ("/proc/uptime", "5000.0 1.0\n"),
            ("/sys/class/thermal/thermal_zone0/temp", "95000\n"),
            ("/sys/class/thermal/thermal_zone0/type", "cpu\n"),
            ("/sys/class/thermal/thermal_zone0/trip_point_0_type", "critical\n"),
            ("/sys/class/thermal/thermal_zone0/trip_point_0_temp", "100000\n"),
        ]);
        let agent = Answers(|request: &Request| match request {
            Request::Standing(_) => {
                Reply::Standing(Standing { maintenance: true, failsafe: true, ..Standing::default() })
            }
            Request::Log(_) => Reply::Lines(vec![
                "[ 1000.000000] error   agent: long ago".into(),
                "[ 4990.000000] error   agent: just now".into(),
                "[ 4991.000000] info    agent: harmless".into(),
            ]),
            _ => Reply::Status(Box::new(crowded())),
        });
        let report = show(&files, &agent);
        fits(&report);
        let text = report.lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        for what in [
            "failsafe",
            "in maintenance",
            "no data partition",
            "just now",
            "cpu is at 95 C",
            "is in Fault",
            "memory are free",
            "not in the kernel as wanted",
            "no healthy real server",
        ] {
            assert!(text.contains(what), "{what} is not in {text}");
        }
        assert!(!text.contains("long ago") && !text.contains("harmless"), "{text}");
        assert_eq!(at(&report.json, "alarms.0.severity"), "critical");
        let first_minor = report.lines.iter().position(|line| line.starts_with("minor")).unwrap();
        assert!(report.lines[first_minor..].iter().all(|line| !line.starts_with("CRITICAL")));
    }

    #[test]
    fn a_dead_agent_is_an_alarm_itself() {
        let (_kept, files) = files(&[]);
        let report = show(&files, &Dead);
        fits(&report);
        assert!(report.lines[1].starts_with("CRITICAL agent"), "{report:?}");
    }
}
