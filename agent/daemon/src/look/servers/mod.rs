//! `show virtual-servers` and `show real-servers`: what is configured and found healthy, beside what the kernel's
//! IPVS has and counts.

mod json;

use std::net::SocketAddr;

use bascule_core::config::model::Protocol;
use bascule_core::desired::{DestinationKey, ServiceKey};
use bascule_core::net::Name;
use bascule_core::shell::report::Report;
use bascule_core::shell::table::{Table, binary, decimal, facts, wrap};
use bascule_core::status::{HealthWord, ServerLine, ServiceLine, Status};
use serde_json::{Value, json};

use super::{LookError, ask_status};
use crate::kernel::ipvs::{Dump, Kernel};
use crate::kernel::ipvs_wire::{DestinationEntry, ServiceEntry, TrafficStatistics};
use crate::shell::Agent;

/// The kernel's table.
///
/// # Errors
/// When the kernel has no IPVS, or does not tell.
pub fn kernel() -> Result<Dump, LookError> {
    let failed =
        |error: String, way_out| LookError::Kernel { what: "the IPVS table".to_owned(), error, way_out };
    let mut kernel = Kernel::connect()
        .map_err(|error| failed(error.to_string(), "it needs CAP_NET_ADMIN"))?
        .ok_or_else(|| failed("this kernel has no IPVS".to_owned(), "load the module ip_vs"))?;
    kernel.read().map_err(|error| failed(error.to_string(), "it needs CAP_NET_ADMIN"))
}

/// What of a service the agent and the kernel know.
#[derive(Clone, Copy, Debug)]
struct Pair<'a> {
    line: Option<&'a ServiceLine>,
    entry: Option<&'a (ServiceEntry, Vec<DestinationEntry>)>,
}

/// A real server in both.
#[derive(Clone, Copy, Debug)]
struct ServerPair<'a> {
    at: SocketAddr,
    line: Option<&'a ServerLine>,
    entry: Option<&'a DestinationEntry>,
}

/// What was found, and what could not be.
#[derive(Debug)]
struct Found {
    status: Option<Status>,
    dump: Option<Dump>,
    notes: Vec<String>,
}

impl Found {
    /// Both sides. One that does not answer is noted; without either there is nothing to show.
    fn read(agent: &dyn Agent, named: bool) -> Result<Self, LookError> {
        let status = ask_status("the services", agent);
        let dump = kernel();
        let mut notes = Vec::new();
        let status = match status {
            Ok(status) => Some(status),
            Err(error) if named || dump.is_err() => return Err(error),
            Err(error) => {
                notes.push(format!("{error}; this is the kernel's table, without names and health"));
                None
            }
        };
        let dump = dump.map_err(|error| notes.push(format!("{error}; weights and traffic are missing"))).ok();
        Ok(Self { status, dump, notes })
    }

    fn pairs(&self) -> Vec<Pair<'_>> {
        let lines = self.status.as_ref().map(|status| status.services.as_slice()).unwrap_or_default();
        let entries = self.dump.as_ref().map(|dump| dump.services.as_slice()).unwrap_or_default();
        let mut pairs: Vec<Pair<'_>> = lines
            .iter()
            .map(|line| Pair { line: Some(line), entry: entries.iter().find(|(e, _)| e.key == key(line)) })
            .collect();
        let strange = entries.iter().filter(|(entry, _)| !lines.iter().any(|line| key(line) == entry.key));
        pairs.extend(strange.map(|entry| Pair { line: None, entry: Some(entry) }));
        pairs
    }

    /// All pairs, or the one of a name.
    fn chosen(&self, name: Option<&Name>) -> Result<Vec<Pair<'_>>, LookError> {
        let all = self.pairs();
        let Some(name) = name else { return Ok(all) };
        let one: Vec<Pair<'_>> =
            all.iter().copied().filter(|pair| pair.line.is_some_and(|line| line.name == *name)).collect();
        if one.is_empty() {
            let known = all.iter().filter_map(|pair| Some(pair.line?.name.to_string())).collect();
            return Err(LookError::Unknown { kind: "virtual server", name: name.to_string(), known });
        }
        Ok(one)
    }
}

fn key(line: &ServiceLine) -> ServiceKey {
    let protocol = match line.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    ServiceKey::Address { protocol, address: line.address, port: line.port }
}

impl<'a> Pair<'a> {
    fn name(&self) -> &'a str {
        self.line.map_or("-", |line| line.name.as_str())
    }

    fn address(&self) -> String {
        match (self.line.map(key), self.entry) {
            (Some(key), _) => key_words(&key),
            (None, Some((entry, _))) => key_words(&entry.key),
            (None, None) => String::new(),
        }
    }

    fn scheduler(&self) -> String {
        match (self.line, self.entry) {
            (Some(line), _) => line.scheduler.clone(),
            (None, Some((entry, _))) => entry.scheduler.to_string(),
            (None, None) => String::new(),
        }
    }

    fn state(&self) -> &'static str {
        match self.line {
            Some(line) if line.in_kernel => "as wanted",
            Some(_) if self.entry.is_some() => "NOT AS WANTED",
            Some(_) => "NOT IN KERNEL",
            None => "by hand",
        }
    }

    fn overridden(&self) -> Option<&'a str> {
        self.line.and_then(|line| line.overridden.as_deref())
    }

    fn statistics(&self) -> Option<&'a TrafficStatistics> {
        self.entry.map(|(entry, _)| &entry.statistics)
    }

    fn servers(&self) -> Vec<ServerPair<'a>> {
        let lines = self.line.map(|line| line.servers.as_slice()).unwrap_or_default();
        let entries = self.entry.map(|(_, entries)| entries.as_slice()).unwrap_or_default();
        let mut servers: Vec<ServerPair<'a>> = lines
            .iter()
            .map(|line| {
                let at = DestinationKey::from(&line.endpoint);
                let entry = entries.iter().find(|entry| entry.key == at);
                ServerPair { at: SocketAddr::new(at.address, at.port), line: Some(line), entry }
            })
            .collect();
        for entry in entries {
            let at = SocketAddr::new(entry.key.address, entry.key.port);
            if !servers.iter().any(|server| server.at == at) {
                servers.push(ServerPair { at, line: None, entry: Some(entry) });
            }
        }
        servers
    }
}

impl ServerPair<'_> {
    fn health(&self) -> &'static str {
        match self.line.map(|line| (line.health, line.sorry)) {
            Some((_, true)) => "sorry",
            Some((HealthWord::Unchecked, _)) => "-",
            Some((HealthWord::Pending, _)) => "pending",
            Some((HealthWord::Up, _)) => "up",
            Some((HealthWord::Down, _)) => "DOWN",
            None => "by hand",
        }
    }

    /// What an operator made of it, then its health in words.
    fn detail(&self) -> String {
        let Some(line) = self.line else { return String::new() };
        let told = line.overridden.as_ref().map(|words| format!("OVERRIDE: {words}"));
        let detail = (!line.detail.is_empty()).then(|| line.detail.clone());
        told.into_iter().chain(detail).collect::<Vec<_>>().join("; ")
    }

    fn active(&self) -> (u32, u32) {
        match (self.entry, self.line) {
            (Some(entry), _) => (entry.connections.active, entry.connections.inactive),
            (None, Some(line)) => (line.active, line.inactive),
            (None, None) => (0, 0),
        }
    }
}

/// `tcp 10.0.0.100:80`, as the kernel identifies a service.
#[must_use]
pub fn key_words(key: &ServiceKey) -> String {
    match key {
        ServiceKey::Address { protocol, address, port } => {
            let protocol = match protocol {
                6 => "tcp".to_owned(),
                17 => "udp".to_owned(),
                132 => "sctp".to_owned(),
                other => format!("protocol {other}"),
            };
            format!("{protocol} {}", SocketAddr::new(*address, *port))
        }
        ServiceKey::Fwmark { family, mark } => format!("{family} mark {mark}"),
    }
}

/// `show virtual-servers`.
///
/// # Errors
/// When neither agent nor kernel answer, or there is no such service.
pub fn virtual_servers(name: Option<&Name>, agent: &dyn Agent) -> Result<Report, LookError> {
    let found = Found::read(agent, name.is_some())?;
    let pairs = found.chosen(name)?;
    let lines = match pairs.as_slice() {
        [one] if name.is_some() => details(one),
        all => overview(all),
    };
    Ok(finish(&found.notes, lines, &pairs))
}

/// `show real-servers`.
///
/// # Errors
/// When neither agent nor kernel answer, or there is no such service.
pub fn real_servers(name: Option<&Name>, agent: &dyn Agent) -> Result<Report, LookError> {
    let found = Found::read(agent, name.is_some())?;
    let pairs = found.chosen(name)?;
    let mut lines = Vec::new();
    for pair in &pairs {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(block(pair));
    }
    if pairs.is_empty() {
        lines.push("no virtual servers".to_owned());
    }
    Ok(finish(&found.notes, lines, &pairs))
}

fn finish(notes: &[String], mut lines: Vec<String>, pairs: &[Pair<'_>]) -> Report {
    for note in notes {
        wrap(&mut lines, "NOTE: ", note);
    }
    let services: Vec<Value> = pairs.iter().map(json::service).collect();
    Report { lines, json: json!({ "virtual_servers": services, "notes": notes }) }
}

fn overview(pairs: &[Pair<'_>]) -> Vec<String> {
    let titles =
        ["VIRTUAL SERVER", "SERVICE", "SCHED", ">UP", ">ACTIVE", ">CONN/S", ">IN/S", ">OUT/S", "KERNEL"];
    let mut table = Table::new(&titles);
    for pair in pairs {
        let servers = pair.servers();
        let usable = servers.iter().filter(|server| usable(server)).count();
        let active: u64 = servers.iter().map(|server| u64::from(server.active().0)).sum();
        let rates = pair.statistics().copied().unwrap_or_default();
        table.row([
            pair.name().to_owned(),
            pair.address(),
            pair.scheduler(),
            format!("{usable}/{}", servers.len()),
            active.to_string(),
            decimal(rates.connection_rate),
            decimal(rates.byte_rate_in),
            decimal(rates.byte_rate_out),
            pair.overridden().map_or_else(
                || pair.state().to_owned(),
                |words| format!("{}, OVERRIDE: {words}", pair.state()),
            ),
        ]);
    }
    let mut lines = table.lines();
    if lines.is_empty() {
        lines.push("no virtual servers".to_owned());
    } else {
        lines.push("UP: real servers that take connections; IN/S, OUT/S: bytes per second".to_owned());
    }
    lines
}

/// Whether a server takes new connections, as the kernel has it.
fn usable(server: &ServerPair<'_>) -> bool {
    server.entry.is_some_and(|entry| entry.destination.weight > 0)
}

fn details(pair: &Pair<'_>) -> Vec<String> {
    let mut pairs = vec![
        ("virtual server", pair.name().to_owned()),
        ("service", pair.address()),
        ("scheduler", pair.scheduler()),
        ("kernel", pair.state().to_owned()),
    ];
    if let Some(words) = pair.overridden() {
        pairs.push(("override", words.to_owned()));
    }
    if let Some((entry, _)) = pair.entry {
        let persistence =
            entry.persistence.map_or_else(|| "none".to_owned(), |timeout| format!("{} s", timeout.as_secs()));
        pairs.push(("persistence", persistence));
        let s = &entry.statistics;
        pairs.push(("connections", s.connections.to_string()));
        pairs.push(("packets", format!("{} in, {} out", s.packets_in, s.packets_out)));
        pairs.push(("bytes", format!("{} in, {} out", s.bytes_in, s.bytes_out)));
    }
    let mut lines = facts(&pairs);
    lines.push(String::new());
    lines.extend(tables(pair));
    lines.extend(totals(pair));
    lines
}

fn block(pair: &Pair<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut head = format!("{}: {}, {}, {}", pair.name(), pair.address(), pair.scheduler(), pair.state());
    if let Some(words) = pair.overridden() {
        head.push_str(&format!(", OVERRIDE: {words}"));
    }
    wrap(&mut lines, "", &head);
    lines.extend(tables(pair));
    lines
}

/// State, then traffic.
fn tables(pair: &Pair<'_>) -> Vec<String> {
    let servers = pair.servers();
    if servers.is_empty() {
        return vec!["  no real servers".to_owned()];
    }
    let mut states = Table::new(&["REAL SERVER", ">WEIGHT", ">IN KERNEL", "HEALTH", "DETAIL"]).indented(2);
    let titles = ["REAL SERVER", ">ACTIVE", ">INACTIVE", ">PERSIST", ">CONN/S", ">IN/S", ">OUT/S"];
    let mut traffic = Table::new(&titles).indented(2);
    for server in &servers {
        let kernel = server.entry.map_or_else(|| "no".to_owned(), |e| e.destination.weight.to_string());
        states.row([
            server.at.to_string(),
            server.line.map_or_else(|| "-".to_owned(), |line| line.weight.to_string()),
            kernel,
            server.health().to_owned(),
            server.detail(),
        ]);
        let (active, inactive) = server.active();
        let rates = server.entry.map(|entry| entry.statistics).unwrap_or_default();
        traffic.row([
            server.at.to_string(),
            active.to_string(),
            inactive.to_string(),
            server.entry.map(|entry| entry.connections.persistent.to_string()).unwrap_or_default(),
            decimal(rates.connection_rate),
            decimal(rates.byte_rate_in),
            decimal(rates.byte_rate_out),
        ]);
    }
    let mut lines = states.lines();
    lines.extend(traffic.lines());
    lines
}

/// Counters of the real servers since they are in the kernel.
fn totals(pair: &Pair<'_>) -> Vec<String> {
    let titles = ["REAL SERVER", ">CONNECTIONS", ">PACKETS IN", ">OUT", ">BYTES IN", ">OUT"];
    let mut table = Table::new(&titles).indented(2);
    for server in pair.servers() {
        let Some(entry) = server.entry else { continue };
        let s = &entry.statistics;
        table.row([
            server.at.to_string(),
            s.connections.to_string(),
            s.packets_in.to_string(),
            s.packets_out.to_string(),
            binary(s.bytes_in),
            binary(s.bytes_out),
        ]);
    }
    table.lines()
}

#[cfg(test)]
mod tests;
