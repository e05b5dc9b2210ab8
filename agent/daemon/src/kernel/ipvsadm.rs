//! `bascule ipvsadm`: the kernel's IPVS table as ipvsadm prints it, so that scripts and habits keep working on
//! the box's console. Reads (and, with `-C`, empties) the table; changes belong to the configuration.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bascule_core::desired::{Method, ServiceKey, SyncRole};
use bascule_core::net::Family;
use thiserror::Error;

use super::genl::GenlError;
use super::ipvs::{Dump, Kernel};
use super::ipvs_wire::{DestinationEntry, Information, ServiceEntry, TrafficStatistics};

const CONNECTIONS: &str = "/proc/net/ip_vs_conn";

/// Why nothing was printed.
#[derive(Debug, Error)]
pub enum IpvsadmError {
    /// Not a command line that this program knows.
    #[error("ipvsadm: {0}; use -L, -S or -C, with -n, --stats, --rate, --daemon or -c")]
    Usage(String),
    /// The kernel has no IPVS.
    #[error("ipvsadm: this kernel has no IPVS (module ip_vs)")]
    NoIpvs,
    /// The kernel refused.
    #[error("ipvsadm: {0}")]
    Kernel(#[from] GenlError),
    /// The connection table cannot be read.
    #[error("ipvsadm: cannot read {CONNECTIONS}: {0}")]
    Connections(std::io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    List,
    Save,
    Clear,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Detail {
    #[default]
    Plain,
    Statistics,
    Rate,
    Daemon,
    Connections,
}

/// Carries out a command line (without the program's name) and returns what to print.
///
/// # Errors
/// For an unknown option, a kernel without IPVS, or missing privileges.
pub fn run(arguments: &[String]) -> Result<String, IpvsadmError> {
    let (verb, detail) = parse(arguments)?;
    if verb == Verb::List && detail == Detail::Connections {
        return std::fs::read_to_string(CONNECTIONS).map(|table| connections(&table)).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                IpvsadmError::NoIpvs
            } else {
                IpvsadmError::Connections(error)
            }
        });
    }
    let mut kernel = Kernel::connect()?.ok_or(IpvsadmError::NoIpvs)?;
    match verb {
        Verb::Clear => kernel.flush().map(|()| String::new()).map_err(IpvsadmError::from),
        Verb::Save => Ok(save(&sorted(kernel.read()?))),
        Verb::List if detail == Detail::Daemon => Ok(daemons(&kernel.read()?)),
        Verb::List => Ok(list(&sorted(kernel.read()?), kernel.information()?, detail)),
    }
}

/// In ipvsadm's order: by mark, family, protocol, address and port. The kernel's is that of its hash table.
fn sorted(mut dump: Dump) -> Dump {
    dump.services.sort_by_key(|(service, _)| match service.key {
        ServiceKey::Address { protocol, address, port } => {
            (0, Family::of(&address), protocol, Some(address), port)
        }
        ServiceKey::Fwmark { family, mark } => (mark, family, 0, None, 0),
    });
    for (_, destinations) in &mut dump.services {
        destinations.sort_by_key(|entry| entry.key);
    }
    dump
}

fn parse(arguments: &[String]) -> Result<(Verb, Detail), IpvsadmError> {
    let (mut verb, mut detail) = (None, Detail::Plain);
    let mut set = |new: Verb| match verb.replace(new) {
        Some(old) if old != new => Err(IpvsadmError::Usage("only one of -L, -S, -C at a time".into())),
        Some(_) | None => Ok(()),
    };
    for argument in arguments {
        if let Some(long) = argument.strip_prefix("--") {
            match long {
                "list" => set(Verb::List)?,
                "save" => set(Verb::Save)?,
                "clear" => set(Verb::Clear)?,
                "numeric" | "exact" | "sort" => {}
                "stats" => detail = Detail::Statistics,
                "rate" => detail = Detail::Rate,
                "daemon" => detail = Detail::Daemon,
                "connection" => detail = Detail::Connections,
                other => return Err(IpvsadmError::Usage(format!("unknown option --{other}"))),
            }
            continue;
        }
        let letters = argument.strip_prefix('-').filter(|letters| !letters.is_empty());
        for letter in letters.ok_or_else(|| IpvsadmError::Usage(format!("unknown word {argument}")))?.chars()
        {
            match letter {
                'L' | 'l' => set(Verb::List)?,
                'S' => set(Verb::Save)?,
                'C' => set(Verb::Clear)?,
                'n' => {}
                'c' => detail = Detail::Connections,
                other => return Err(IpvsadmError::Usage(format!("unknown option -{other}"))),
            }
        }
    }
    Ok((verb.unwrap_or(Verb::List), detail))
}

fn list(dump: &Dump, information: Information, detail: Detail) -> String {
    let Information { version: [major, minor, patch], size } = information;
    let mut text = format!("IP Virtual Server version {major}.{minor}.{patch} (size={size})\n");
    text.push_str(match detail {
        Detail::Plain | Detail::Daemon | Detail::Connections => {
            "Prot LocalAddress:Port Scheduler Flags\n  \
             -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
        }
        Detail::Statistics => {
            "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n  \
             -> RemoteAddress:Port\n"
        }
        Detail::Rate => {
            "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n  \
             -> RemoteAddress:Port\n"
        }
    });
    for (service, destinations) in &dump.services {
        let (protocol, address) = service_name(&service.key);
        let name = format!("{protocol:<4} {address}");
        match detail {
            Detail::Plain | Detail::Daemon | Detail::Connections => {
                let _ = writeln!(text, "{name} {}{}", service.scheduler, flags(service));
            }
            Detail::Statistics => counters(&mut text, &name, totals(&service.statistics)),
            Detail::Rate => counters(&mut text, &name, rates(&service.statistics)),
        }
        for entry in destinations {
            destination_line(&mut text, entry, detail);
        }
    }
    text
}

fn destination_line(text: &mut String, entry: &DestinationEntry, detail: Detail) {
    let name = SocketAddr::new(entry.key.address, entry.key.port).to_string();
    match detail {
        Detail::Plain | Detail::Daemon | Detail::Connections => {
            let _ = writeln!(
                text,
                "  -> {name:<28} {:<7} {:<6} {:<10} {:<10}",
                method_word(entry.destination.method),
                entry.destination.weight,
                entry.connections.active,
                entry.connections.inactive,
            );
        }
        Detail::Statistics => counters(text, &format!("  -> {name}"), totals(&entry.statistics)),
        Detail::Rate => counters(text, &format!("  -> {name}"), rates(&entry.statistics)),
    }
}

/// Five columns after a name of at least 33 characters.
fn counters(text: &mut String, name: &str, values: [u64; 5]) {
    let _ = write!(text, "{name:<33}");
    for value in values {
        let _ = write!(text, " {:>8}", short(value));
    }
    text.push('\n');
}

/// At most eight characters: thousands as `K`, millions as `M`, as ipvsadm does without `--exact`.
fn short(value: u64) -> String {
    match value {
        0..100_000_000 => value.to_string(),
        100_000_000..100_000_000_000 => format!("{}K", value / 1_000),
        100_000_000_000..100_000_000_000_000 => format!("{}M", value / 1_000_000),
        100_000_000_000_000..100_000_000_000_000_000 => format!("{}G", value / 1_000_000_000),
        _ => format!("{}T", value / 1_000_000_000_000),
    }
}

const fn totals(s: &TrafficStatistics) -> [u64; 5] {
    [s.connections, s.packets_in, s.packets_out, s.bytes_in, s.bytes_out]
}

const fn rates(s: &TrafficStatistics) -> [u64; 5] {
    [s.connection_rate, s.packet_rate_in, s.packet_rate_out, s.byte_rate_in, s.byte_rate_out]
}

/// Protocol and address columns.
fn service_name(key: &ServiceKey) -> (&'static str, String) {
    match key {
        ServiceKey::Address { protocol, address, port } => {
            (protocol_word(*protocol), SocketAddr::new(*address, *port).to_string())
        }
        ServiceKey::Fwmark { family: Family::V4, mark } => ("FWM", mark.to_string()),
        ServiceKey::Fwmark { family: Family::V6, mark } => ("FWM", format!("{mark} IPv6")),
    }
}

const fn protocol_word(protocol: u16) -> &'static str {
    match protocol {
        6 => "TCP",
        17 => "UDP",
        132 => "SCTP",
        _ => "?",
    }
}

const fn method_word(method: Method) -> &'static str {
    match method {
        Method::Masquerade => "Masq",
        Method::Local => "Local",
        Method::Tunnel => "Tunnel",
        Method::DirectRoute => "Route",
        Method::Bypass => "Bypass",
    }
}

/// The mask that groups clients, when it is not the whole address.
fn mask(service: &ServiceEntry) -> Option<String> {
    match service.key.family() {
        Family::V4 if service.netmask != u32::MAX => {
            Some(Ipv4Addr::from(service.netmask.to_ne_bytes()).to_string())
        }
        Family::V6 if service.netmask != 128 => Some(service.netmask.to_string()),
        Family::V4 | Family::V6 => None,
    }
}

fn flags(service: &ServiceEntry) -> String {
    let mut text = String::new();
    if let Some(timeout) = service.persistence {
        let _ = write!(text, " persistent {}", timeout.as_secs());
        if let Some(mask) = mask(service) {
            let _ = write!(text, " mask {mask}");
        }
        if let Some(engine) = &service.engine {
            let _ = write!(text, " pe {engine}");
        }
    }
    if service.one_packet {
        text.push_str(" ops");
    }
    text
}

/// The commands that make the table anew.
fn save(dump: &Dump) -> String {
    let mut text = String::new();
    for (service, destinations) in &dump.services {
        let name = service_option(&service.key);
        let _ = write!(text, "-A {name} -s {}", service.scheduler);
        if let Some(timeout) = service.persistence {
            let _ = write!(text, " -p {}", timeout.as_secs());
            if let Some(mask) = mask(service) {
                let _ = write!(text, " -M {mask}");
            }
            if let Some(engine) = &service.engine {
                let _ = write!(text, " --pe {engine}");
            }
        }
        text.push_str(if service.one_packet { " -o\n" } else { "\n" });
        for entry in destinations {
            let at = SocketAddr::new(entry.key.address, entry.key.port);
            let method = match entry.destination.method {
                Method::Masquerade => "-m",
                Method::Tunnel => "-i",
                Method::Local | Method::DirectRoute | Method::Bypass => "-g",
            };
            let _ = write!(text, "-a {name} -r {at} {method} -w {}", entry.destination.weight);
            if entry.upper != 0 {
                let _ = write!(text, " -x {} -y {}", entry.upper, entry.lower);
            }
            text.push('\n');
        }
    }
    text
}

fn service_option(key: &ServiceKey) -> String {
    match key {
        ServiceKey::Address { protocol, address, port } => {
            let option = match protocol {
                17 => "-u",
                132 => "--sctp-service",
                _ => "-t",
            };
            format!("{option} {}", SocketAddr::new(*address, *port))
        }
        ServiceKey::Fwmark { family: Family::V4, mark } => format!("-f {mark}"),
        ServiceKey::Fwmark { family: Family::V6, mark } => format!("-f {mark} -6"),
    }
}

fn daemons(dump: &Dump) -> String {
    let mut text = String::new();
    for entry in &dump.daemons {
        let word = match entry.role {
            SyncRole::Master => "master",
            SyncRole::Backup => "backup",
        };
        let sync = &entry.daemon;
        let _ = writeln!(
            text,
            "{word} sync daemon (mcast={}, syncid={}, maxlen={}, group={}, port={}, ttl={})",
            sync.interface, sync.id, entry.longest, sync.group, sync.port, entry.ttl
        );
    }
    text
}

/// The connection table (`ip_vs_conn_seq_show` in `net/netfilter/ipvs/ip_vs_conn.c`) with readable addresses.
fn connections(table: &str) -> String {
    let mut text = "IPVS connection entries\n\
                    pro expire state       source             virtual            destination\n"
        .to_owned();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [protocol, from, from_port, to, to_port, at, at_port, state, expires, ..] = columns.as_slice()
        else {
            continue;
        };
        let endpoint = |address: &str, port: &str| {
            let port = u16::from_str_radix(port, 16).ok()?;
            Some(SocketAddr::new(connection_address(address)?, port).to_string())
        };
        let (Some(source), Some(virtual_), Some(destination)) =
            (endpoint(from, from_port), endpoint(to, to_port), endpoint(at, at_port))
        else {
            continue;
        };
        let seconds: u64 = expires.parse().unwrap_or(0);
        let _ = writeln!(
            text,
            "{protocol:<3} {:02}:{:02}  {state:<11} {source:<18} {virtual_:<18} {destination}",
            seconds / 60,
            seconds % 60
        );
    }
    text
}

/// Eight hexadecimal digits, or an IPv6 address that may be in brackets.
fn connection_address(text: &str) -> Option<IpAddr> {
    if text.len() == 8 && !text.contains(':') {
        return u32::from_str_radix(text, 16).ok().map(|bits| Ipv4Addr::from(bits).into());
    }
    text.trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
#[path = "ipvsadm_tests.rs"]
mod tests;
