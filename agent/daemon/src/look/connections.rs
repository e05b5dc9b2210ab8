//! `show connections` and `show persistence`: the kernel's connection table, as
//! `ip_vs_conn_seq_show` (`net/netfilter/ipvs/ip_vs_conn.c`) prints it. Read line by line: it may have millions.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bascule_core::net::Prefix;
use bascule_core::shell::report::Report;
use bascule_core::shell::table::{Table, age, wrap};
use serde_json::{Value, json};

use super::LookError;
use super::files::Files;

const TABLE: &str = "/proc/net/ip_vs_conn";
/// With the column that tells which box saw the connection begin.
const ORIGINS: &str = "/proc/net/ip_vs_conn_sync";
/// Entries that are listed; all are counted.
const LISTED: usize = 5_000;
/// Longest line: a persistence engine's data may be long, but not this long.
const LINE_MAX: u64 = 4_096;

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// TCP, UDP, SCTP; IP for a template of a firewall mark.
    pub protocol: String,
    /// Client.
    pub client: SocketAddr,
    /// Service. Of a firewall mark's template: the mark as an address.
    pub service: SocketAddr,
    /// Real server.
    pub server: SocketAddr,
    /// State, NONE of a template.
    pub state: String,
    /// Time that is left to it.
    pub expires: Duration,
    /// Persistence engine and its data.
    pub engine: Option<(String, String)>,
}

impl Entry {
    /// A template keeps a client on its server; it has no port because it stands for all of the client's connections.
    #[must_use]
    pub const fn is_template(&self) -> bool {
        self.client.port() == 0
    }
}

/// Reads a line; `None` for the title, and for what is no entry.
#[must_use]
pub fn parse(line: &str) -> Option<Entry> {
    let (protocol, rest) = word(line)?;
    let (client, rest) = endpoint(rest)?;
    let (service, rest) = endpoint(rest)?;
    let (server, rest) = endpoint(rest)?;
    let (state, rest) = word(rest)?;
    let (expires, rest) = word(rest)?;
    // The data of an engine may hold blanks: it is all of the rest.
    let engine = word(rest).map(|(name, data)| (name.to_owned(), data.trim().to_owned()));
    Some(Entry {
        protocol: protocol.to_owned(),
        client,
        service,
        server,
        state: state.to_owned(),
        expires: Duration::from_secs(expires.parse().ok()?),
        engine,
    })
}

fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (!word.is_empty()).then_some((word, rest))
}

fn endpoint(text: &str) -> Option<(SocketAddr, &str)> {
    let (address, rest) = word(text)?;
    let (port, rest) = word(rest)?;
    Some((SocketAddr::new(ip(address)?, u16::from_str_radix(port, 16).ok()?), rest))
}

/// Eight hexadecimal digits, or an IPv6 address that may be in brackets.
fn ip(text: &str) -> Option<IpAddr> {
    if text.len() == 8 && !text.contains(':') {
        return u32::from_str_radix(text, 16).ok().map(|bits| Ipv4Addr::from(bits).into());
    }
    text.trim_matches(['[', ']']).parse().ok()
}

/// What entries are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    All,
    Network(Prefix),
    Text(String),
}

impl Filter {
    /// An address or a network means just that; anything else is looked for in the text of addresses and ports.
    fn new(text: Option<&str>) -> Self {
        match text {
            None => Self::All,
            Some(text) => text.parse().map_or_else(|_| Self::Text(text.to_ascii_lowercase()), Self::Network),
        }
    }

    fn admits(&self, entry: &Entry) -> bool {
        let ends = [entry.client, entry.service, entry.server];
        match self {
            Self::All => true,
            Self::Network(network) => ends.iter().any(|end| network.contains(&end.ip())),
            Self::Text(text) => ends.iter().any(|end| end.to_string().contains(text)),
        }
    }
}

/// What was found in the table.
#[derive(Debug, Default)]
struct Found {
    listed: Vec<Entry>,
    matching: u64,
    unread: u64,
}

fn read(files: &Files, mut wanted: impl FnMut(&Entry) -> bool) -> Result<Found, LookError> {
    let failed = |error: std::io::Error| LookError::Kernel {
        what: "the connections".to_owned(),
        error: format!("{TABLE}: {error}"),
        way_out: "this kernel has no IPVS, or no service was ever configured",
    };
    let mut reader = BufReader::new(File::open(files.path(TABLE)).map_err(failed)?);
    let mut found = Found::default();
    let mut line = Vec::new();
    let mut first = true;
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 {
            return Ok(found);
        }
        match parse(&String::from_utf8_lossy(&line)) {
            Some(entry) if wanted(&entry) => {
                found.matching += 1;
                if found.listed.len() < LISTED {
                    found.listed.push(entry);
                }
            }
            Some(_) => {}
            None if first => {}
            None => found.unread += 1,
        }
        first = false;
    }
}

/// `show connections`.
///
/// # Errors
/// When the kernel has no such table.
pub fn connections(filter: Option<&str>, files: &Files) -> Result<Report, LookError> {
    let wanted = Filter::new(filter);
    let found = read(files, |entry| !entry.is_template() && wanted.admits(entry))?;
    let mut table = Table::new(&["PROTO", "CLIENT", "SERVICE", "REAL SERVER", "STATE", ">EXPIRES"]);
    for entry in &found.listed {
        table.row([
            entry.protocol.clone(),
            entry.client.to_string(),
            entry.service.to_string(),
            entry.server.to_string(),
            entry.state.clone(),
            age(entry.expires),
        ]);
    }
    Ok(report(&found, &table, "connections"))
}

/// `show persistence`.
///
/// # Errors
/// When the kernel has no such table.
pub fn persistence(files: &Files) -> Result<Report, LookError> {
    let found = read(files, Entry::is_template)?;
    let mut table = Table::new(&["PROTO", "CLIENT", "SERVICE", "REAL SERVER", ">EXPIRES", "ENGINE"]);
    for entry in &found.listed {
        table.row([
            entry.protocol.clone(),
            entry.client.ip().to_string(),
            service(entry),
            entry.server.to_string(),
            age(entry.expires),
            entry.engine.as_ref().map(|(name, data)| format!("{name} {data}")).unwrap_or_default(),
        ]);
    }
    Ok(report(&found, &table, "templates"))
}

fn service(entry: &Entry) -> String {
    match (entry.protocol.as_str(), entry.service.ip()) {
        // `ip_vs_sched_persist`: a template of a mark has the mark in the place of the address.
        ("IP", IpAddr::V4(mark)) => format!("firewall mark {}", u32::from(mark)),
        _ => entry.service.to_string(),
    }
}

fn report(found: &Found, table: &Table, what: &str) -> Report {
    let mut lines = table.lines();
    let listed = found.listed.len();
    let total = found.matching;
    let told = if u64::try_from(listed).unwrap_or(u64::MAX) < total {
        format!("{total} {what}, {listed} of them listed: name an address, or count with \"ipvsadm -Lnc\"")
    } else {
        format!("{total} {what}")
    };
    wrap(&mut lines, "", &told);
    if found.unread > 0 {
        lines.push(format!("{} lines of {TABLE} are not understood", found.unread));
    }
    let entries: Vec<Value> = found.listed.iter().map(to_json).collect();
    let json = json!({ what: entries, "matching": total, "listed": listed, "not_understood": found.unread });
    Report { lines, json }
}

fn to_json(entry: &Entry) -> Value {
    json!({
        "protocol": entry.protocol,
        "client": entry.client,
        "service": entry.service,
        "real_server": entry.server,
        "state": entry.state,
        "expires_seconds": entry.expires.as_secs(),
        "engine": entry.engine.as_ref().map(|(name, _)| name),
        "engine_data": entry.engine.as_ref().map(|(_, data)| data),
    })
}

/// Every connection, templates aside.
///
/// # Errors
/// When the kernel has no such table.
pub fn each(mut take: impl FnMut(&Entry)) -> Result<(), LookError> {
    read(&Files::default(), |entry| {
        if !entry.is_template() {
            take(entry);
        }
        false
    })
    .map(drop)
}

/// Whether this kernel balances at all: without a service there may be no table.
#[must_use]
pub fn balances() -> bool {
    Files::default().path(TABLE).exists()
}

/// How many entries began on this box, and how many came by synchronisation; `None` when the kernel does not tell.
#[must_use]
pub fn origins(files: &Files) -> Option<(u64, u64)> {
    let reader = BufReader::new(File::open(files.path(ORIGINS)).ok()?);
    let (mut local, mut sync) = (0, 0);
    for line in reader.lines().map_while(Result::ok).skip(1) {
        match line.split_whitespace().nth(8) {
            Some("LOCAL") => local += 1,
            Some("SYNC") => sync += 1,
            Some(_) | None => {}
        }
    }
    Some((local, sync))
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
