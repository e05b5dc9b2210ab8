//! Every `monitor`: what changes, in lines that are added below each other, until Ctrl-C. A dumb serial line shows
//! them as they are.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, Instant};

use bascule_core::net::{Endpoint, Name};
use bascule_core::shell::command::Monitor;
use bascule_core::shell::table::decimal;
use bascule_core::status::{HealthWord, Status};
use bascule_core::time::utc;

use super::resolve::tell;
use super::status::role_word;
use super::{LookError, ask_status, interfaces, journal, netlink, servers, system};
use crate::kernel::ipvs_wire::TrafficStatistics;
use crate::look::files::Files;
use crate::shell::Agent;
use crate::shell::console::Console;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Lines of the log that are looked through for new ones.
const BACKLOG: u32 = 500;
/// Entries that are shown of what was there before.
const BEFORE: usize = 10;
/// Titles come again after so many lines.
const TITLES: usize = 20;

/// Tells what changes, until Ctrl-C.
///
/// # Errors
/// When the terminal is gone.
pub fn monitor(what: &Monitor, agent: &dyn Agent, console: &mut dyn Console) -> io::Result<()> {
    match what {
        Monitor::Log => log(agent, console),
        Monitor::Vrrp => watch(agent, console, "virtual routers", &mut Routers::default()),
        Monitor::RealServers => watch(agent, console, "real servers", &mut Servers::default()),
        Monitor::Traffic => traffic(console),
    }
}

/// Time of day, as every line begins.
fn clock() -> String {
    utc(system::now()).split_off("2026-11-22 ".len())
}

fn log(agent: &dyn Agent, console: &mut dyn Console) -> io::Result<()> {
    let mut tail = Tail::default();
    let mut trouble = Trouble::default();
    loop {
        match journal::read(BACKLOG, agent) {
            Ok(entries) => {
                trouble.over(console)?;
                for entry in tail.new_ones(entries) {
                    let mut lines = Vec::new();
                    journal::wrapped(&mut lines, &entry);
                    lines.iter().try_for_each(|line| console.say(line))?;
                }
            }
            Err(error) => trouble.told(&error, console)?,
        }
        if console.pause(EVERY)? {
            return Ok(());
        }
    }
}

/// Which entries of a log have been shown.
#[derive(Debug, Default)]
struct Tail {
    last: Vec<String>,
    begun: bool,
}

impl Tail {
    /// The entries that were not in the log before. Where the old and the new have nothing in common, entries were
    /// lost between them, and that is said.
    fn new_ones(&mut self, entries: Vec<String>) -> Vec<String> {
        let fresh = if self.begun {
            match self.last.last() {
                None => entries.clone(),
                Some(last) => match entries.iter().rposition(|entry| entry == last) {
                    Some(at) => entries.get(at + 1..).unwrap_or_default().to_vec(),
                    None => {
                        let mut fresh =
                            vec!["(there may be entries before these that were not seen)".to_owned()];
                        fresh.extend(entries.iter().cloned());
                        fresh
                    }
                },
            }
        } else {
            entries.iter().skip(entries.len().saturating_sub(BEFORE)).cloned().collect()
        };
        self.begun = true;
        self.last = entries;
        fresh
    }
}

/// Tells once that the agent does not answer, and once that it does again.
#[derive(Debug, Default)]
struct Trouble(bool);

impl Trouble {
    fn told(&mut self, error: &LookError, console: &mut dyn Console) -> io::Result<()> {
        if std::mem::replace(&mut self.0, true) {
            return Ok(());
        }
        tell(console, &format!("{} {error}", clock()))
    }

    fn over(&mut self, console: &mut dyn Console) -> io::Result<()> {
        if std::mem::take(&mut self.0) {
            tell(console, &format!("{} the agent answers again", clock()))
        } else {
            Ok(())
        }
    }
}

/// What is followed in the agent's status.
trait Followed {
    /// What is to be told of `status`, given what was told before.
    fn changes(&mut self, status: &Status) -> Vec<String>;
}

fn watch(
    agent: &dyn Agent,
    console: &mut dyn Console,
    what: &'static str,
    followed: &mut dyn Followed,
) -> io::Result<()> {
    let mut trouble = Trouble::default();
    tell(console, &format!("changes of {what}; Ctrl-C ends this"))?;
    loop {
        match ask_status(what, agent) {
            Ok(status) => {
                trouble.over(console)?;
                let time = clock();
                let changes = followed.changes(&status);
                changes.iter().try_for_each(|change| tell(console, &format!("{time} {change}")))?;
            }
            Err(error) => trouble.told(&error, console)?,
        }
        if console.pause(EVERY)? {
            return Ok(());
        }
    }
}

/// States of the virtual routers, and their adverts as last told.
#[derive(Debug, Default)]
struct Routers {
    known: BTreeMap<Name, (String, u64, u64)>,
}

impl Followed for Routers {
    fn changes(&mut self, status: &Status) -> Vec<String> {
        let mut told = Vec::new();
        let mut now = BTreeMap::new();
        for router in &status.routers {
            let counters = status.adverts.routers.get(&router.name).copied().unwrap_or_default();
            let master = router.status.master.map(|master| format!(", master {master}")).unwrap_or_default();
            let state = format!("{}{master}", role_word(&router.status.role));
            let name = &router.name;
            match self.known.get(name) {
                None => told.push(format!("{name}: {state}, priority {}", router.status.priority)),
                Some((before, ..)) if *before != state => told.push(format!("{name}: {before} -> {state}")),
                Some(_) => {}
            }
            let (sent, received) = self.known.get(name).map_or((0, 0), |(_, sent, received)| {
                // A restarted agent counts from zero.
                (counters.sent.saturating_sub(*sent), counters.received.saturating_sub(*received))
            });
            if self.known.contains_key(name) {
                told.push(format!(
                    "{name}: {}, adverts +{sent} sent, +{received} received",
                    role_word(&router.status.role)
                ));
            }
            now.insert(name.clone(), (state, counters.sent, counters.received));
        }
        told.extend(
            self.known.keys().filter(|name| !now.contains_key(*name)).map(|name| format!("{name}: gone")),
        );
        self.known = now;
        told
    }
}

/// Real servers as last told.
#[derive(Debug, Default)]
struct Servers {
    known: HashMap<(Name, Endpoint), String>,
    begun: bool,
}

impl Followed for Servers {
    fn changes(&mut self, status: &Status) -> Vec<String> {
        let mut told = Vec::new();
        let mut now = HashMap::new();
        for service in &status.services {
            for server in &service.servers {
                let health = match server.health {
                    HealthWord::Unchecked if server.sorry => "sorry server in use",
                    HealthWord::Unchecked => "unchecked",
                    HealthWord::Pending => "pending",
                    HealthWord::Up => "up",
                    HealthWord::Down => "DOWN",
                };
                // The rest of the words counts down every second.
                let told_by = server.overridden.as_deref().and_then(|words| words.split([' ', ',']).next());
                let overridden = told_by.map(|word| format!(", OVERRIDE: {word}")).unwrap_or_default();
                let state = format!("{health}, weight {}{overridden}", server.weight);
                let reason = match server.health {
                    HealthWord::Down => format!(": {}", server.detail),
                    HealthWord::Unchecked | HealthWord::Pending | HealthWord::Up => String::new(),
                };
                let key = (service.name.clone(), server.endpoint);
                let who = format!("{} {}", service.name, server.endpoint);
                match self.known.get(&key) {
                    None => told.push(format!("{who}: {state}{reason}")),
                    Some(before) if *before != state => {
                        told.push(format!("{who}: {before} -> {state}{reason}"))
                    }
                    Some(_) => {}
                }
                now.insert(key, state);
            }
        }
        let mut gone: Vec<_> = self.known.keys().filter(|key| !now.contains_key(*key)).collect();
        gone.sort();
        told.extend(gone.iter().map(|(service, server)| format!("{service} {server}: gone")));
        if !self.begun && told.is_empty() {
            told.push("no real servers".to_owned());
        }
        self.begun = true;
        self.known = now;
        told
    }
}

/// What was counted of one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    packets_in: u64,
    bytes_in: u64,
    packets_out: u64,
    bytes_out: u64,
    connections: Option<u64>,
}

impl From<&TrafficStatistics> for Counts {
    fn from(s: &TrafficStatistics) -> Self {
        Self {
            packets_in: s.packets_in,
            bytes_in: s.bytes_in,
            packets_out: s.packets_out,
            bytes_out: s.bytes_out,
            connections: Some(s.connections),
        }
    }
}

fn counted() -> Result<BTreeMap<String, Counts>, LookError> {
    let mut counts = BTreeMap::new();
    for interface in interfaces::read(&netlink::links()?, &Files::default(), None) {
        let of = Counts {
            packets_in: interface.received.packets,
            bytes_in: interface.received.bytes,
            packets_out: interface.sent.packets,
            bytes_out: interface.sent.bytes,
            connections: None,
        };
        counts.insert(interface.name, of);
    }
    // A kernel without IPVS has interfaces all the same.
    for (entry, _) in servers::kernel().map(|dump| dump.services).unwrap_or_default() {
        counts.insert(servers::key_words(&entry.key), Counts::from(&entry.statistics));
    }
    Ok(counts)
}

const TRAFFIC: &str = "TIME     INTERFACE OR SERVICE      IN PKT/S   IN B/S  OUT PKT/S  OUT B/S CONN/S";

fn traffic(console: &mut dyn Console) -> io::Result<()> {
    let mut before: Option<(Instant, BTreeMap<String, Counts>)> = None;
    let mut lines = 0;
    tell(console, "per second; what is idle is not listed; Ctrl-C ends this")?;
    loop {
        match counted() {
            Ok(counts) => {
                let now = Instant::now();
                if let Some((then, old)) = &before {
                    for line in rates(&clock(), old, &counts, now.duration_since(*then)) {
                        if lines % TITLES == 0 {
                            console.say(TRAFFIC)?;
                        }
                        lines += 1;
                        console.say(&line)?;
                    }
                }
                before = Some((now, counts));
            }
            Err(error) => tell(console, &error.to_string())?,
        }
        if console.pause(EVERY)? {
            return Ok(());
        }
    }
}

/// A line for each that counted something; one line that says so when none did.
fn rates(
    time: &str,
    old: &BTreeMap<String, Counts>,
    new: &BTreeMap<String, Counts>,
    span: Duration,
) -> Vec<String> {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_second = |new: u64, old: u64| {
        let more = u128::from(new.saturating_sub(old)) * 1_000 / u128::from(millis);
        u64::try_from(more).unwrap_or(u64::MAX)
    };
    let mut lines = Vec::new();
    for (name, now) in new {
        let Some(then) = old.get(name) else { continue };
        if now == then {
            continue;
        }
        let cells = [
            per_second(now.packets_in, then.packets_in),
            per_second(now.bytes_in, then.bytes_in),
            per_second(now.packets_out, then.packets_out),
            per_second(now.bytes_out, then.bytes_out),
        ]
        .map(decimal);
        let [packets_in, bytes_in, packets_out, bytes_out] = cells;
        let connections =
            now.connections.map(|count| decimal(per_second(count, then.connections.unwrap_or(count))));
        let connections = connections.unwrap_or_else(|| "-".to_owned());
        let mut head = format!("{time} {name}");
        if name.len() > 25 {
            lines.push(std::mem::replace(&mut head, time.to_owned()));
        }
        lines.push(format!(
            "{head:<34} {packets_in:>8} {bytes_in:>8} {packets_out:>10} {bytes_out:>8} {connections:>6}"
        ));
    }
    if lines.is_empty() {
        lines.push(format!("{time} no traffic"));
    }
    lines
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
