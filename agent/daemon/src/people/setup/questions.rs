//! The questions of the setup, one after the other; each answer is checked at once, with what was answered before.

use std::io;
use std::net::IpAddr;

use bascule_core::config::Config;
use bascule_core::net::{Family, Host, IfName, Name, Prefix, VlanId};

use super::{Port, plan};
use crate::people::login::say_wrapped;
use crate::people::users;
use crate::shell::console::Console;

/// How many there are.
const COUNT: usize = 10;
/// Answer for "without".
const NONE: &str = "none";
/// The name of a box that has none.
const HOSTNAME: &str = "lb1";
/// The name in the factory's configuration.
const FACTORY_HOSTNAME: &str = "bascule";
/// As many as a resolver asks.
const NAME_SERVERS_MAX: usize = 3;
/// As many as make sense.
const TIME_SERVERS_MAX: usize = 4;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Host name.
    pub hostname: Name,
    /// The new password; `None` leaves the present one.
    pub password: Option<String>,
    /// Port of the management address.
    pub port: IfName,
    /// The VLAN it is on there.
    pub vlan: Option<VlanId>,
    /// The management address.
    pub address: Option<Prefix>,
    /// Next router of everything else.
    pub gateway: Option<IpAddr>,
    /// Name servers.
    pub name_servers: Vec<IpAddr>,
    /// Time servers.
    pub ntp_servers: Vec<Host>,
    /// Interface to the other box, and the address it gets for that.
    pub peer: Option<(IfName, Option<Prefix>)>,
}

/// A question that is being asked.
struct Question<'a> {
    number: usize,
    text: &'a str,
    default: String,
}

impl Question<'_> {
    /// Asks until the answer is good; `None` when the person leaves.
    fn ask<T>(
        &self,
        console: &mut dyn Console,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> io::Result<Option<T>> {
        // A long default stands above, so that there is room to type.
        let full = format!("{:>2}/{COUNT} {} [{}]: ", self.number, self.text, self.default);
        let prompt = if full.len() <= 60 {
            full
        } else {
            say_wrapped(console, &format!("{:>2}/{COUNT} {}", self.number, self.text))?;
            let room = self.default.char_indices().nth(60).map_or(self.default.len(), |(at, _)| at);
            format!("      [{}]: ", &self.default[..room])
        };
        loop {
            let Some(line) = console.ask(&prompt, true)? else { return Ok(None) };
            let answer = line.trim();
            let answer = if answer.is_empty() { &self.default } else { answer };
            match check(answer) {
                Ok(value) => return Ok(Some(value)),
                Err(reason) => say_wrapped(console, &format!("      {reason}"))?,
            }
        }
    }
}

/// Unwraps an answer; leaves when the person did.
macro_rules! answered {
    ($asked:expr) => {
        match $asked? {
            Some(value) => value,
            None => return Ok(None),
        }
    };
}

/// Asks everything; `None` when the person leaves. `first` demands a password, else Enter keeps the present one.
pub fn ask(
    console: &mut dyn Console,
    before: &Config,
    ports: &[Port],
    user: &Name,
    first: bool,
) -> io::Result<Option<Answers>> {
    let now = plan::present(before);
    let hostname = before.system.hostname.as_ref().map(ToString::to_string);
    let default = hostname.filter(|name| name != FACTORY_HOSTNAME).unwrap_or_else(|| HOSTNAME.to_owned());
    let question = Question { number: 1, text: "Host name", default };
    let hostname: Name = answered!(question.ask(console, |text| text.parse().map_err(reason)));

    let password = answered!(password(console, user, first));

    let text = format!("Management interface ({})", names(ports));
    let default = default_port(&now, ports);
    let question = Question { number: 4, text: &text, default };
    let port = answered!(question.ask(console, |text| port(text, ports)));

    let vlan = now.as_ref().filter(|now| now.port == port).and_then(|now| now.vlan);
    let question = Question { number: 5, text: "VLAN id", default: optional(vlan) };
    let vlan = answered!(question.ask(console, vlan_id));

    let address = now.as_ref().and_then(|now| now.address);
    let question = Question { number: 6, text: "Address, as 192.0.2.11/24", default: optional(address) };
    let address = answered!(question.ask(console, own_address));

    let old = address.and_then(|a| plan::default_route(before, a.family())).map(|(_, route)| route.via);
    let old = old.filter(|via| address.is_some_and(|a| a.contains(via)));
    let question = Question { number: 7, text: "Gateway", default: optional(old) };
    let gateway = answered!(question.ask(console, |text| gateway(text, address)));

    let default = list(&before.system.name_servers);
    let question = Question { number: 8, text: "Name servers", default };
    let name_servers = answered!(question.ask(console, name_servers));

    let default = list(&before.system.ntp_servers);
    let question = Question { number: 9, text: "Time servers", default };
    let ntp_servers = answered!(question.ask(console, time_servers));

    let management = plan::management(&port, vlan);
    let default = optional(before.sync.as_ref().map(|sync| sync.interface.clone()));
    let question = Question { number: 10, text: "Interface to the other box", default };
    let place = PeerPlace { before, ports, management: &management, address };
    let peer = answered!(question.ask(console, |text| place.read(text)));

    Ok(Some(Answers { hostname, password, port, vlan, address, gateway, name_servers, ntp_servers, peer }))
}

fn reason(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

fn list(values: &[impl ToString]) -> String {
    match values {
        [] => NONE.to_owned(),
        values => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

fn names(ports: &[Port]) -> String {
    ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(" ")
}

/// Twice, without showing it. An empty line at the second goes back to the first.
#[expect(clippy::option_option, reason = "left, kept, or a new one")]
fn password(console: &mut dyn Console, user: &Name, first: bool) -> io::Result<Option<Option<String>>> {
    let keep = if first { "" } else { " [unchanged]" };
    let prompt = format!(" 2/{COUNT} New password of {user}{keep}: ");
    loop {
        let Some(password) = console.ask(&prompt, false)? else { return Ok(None) };
        if password.is_empty() && !first {
            return Ok(Some(None));
        }
        if let Err(reason) = users::accept(&password, user.as_str()) {
            say_wrapped(console, &format!("      {reason}"))?;
            continue;
        }
        loop {
            let Some(repeated) = console.ask(&format!(" 3/{COUNT} The same once more: "), false)? else {
                return Ok(None);
            };
            if repeated == password {
                return Ok(Some(Some(password)));
            }
            if repeated.is_empty() {
                break;
            }
            console.say("      The two differ. Type the first one again, or Enter to choose another.")?;
        }
    }
}

/// The port of the present management address, or the first with a cable, or the first.
fn default_port(now: &Option<plan::Present>, ports: &[Port]) -> String {
    let present = now.as_ref().map(|now| now.port.clone());
    let there = present.filter(|name| ports.iter().any(|port| port.name == *name));
    let plugged = || ports.iter().find(|port| port.carrier).or(ports.first()).map(|port| port.name.clone());
    there.or_else(plugged).map_or_else(|| "eth0".to_owned(), |name| name.to_string())
}

fn port(text: &str, ports: &[Port]) -> Result<IfName, String> {
    let name: IfName = text.parse().map_err(reason)?;
    match ports.iter().any(|port| port.name == name) {
        true => Ok(name),
        // A box whose driver came late is set up all the same.
        false if ports.is_empty() => Ok(name),
        false => Err(format!("There is no {name}; this box has {}.", names(ports))),
    }
}

fn vlan_id(text: &str) -> Result<Option<VlanId>, String> {
    if text == NONE {
        return Ok(None);
    }
    let number: u32 = text.parse().map_err(|_| "Write a number from 1 to 4094, or none.".to_owned())?;
    VlanId::new(number).map(Some).map_err(reason)
}

fn own_address(text: &str) -> Result<Option<Prefix>, String> {
    if text == NONE {
        return Ok(None);
    }
    if !text.contains('/') {
        return Err(format!("The prefix length is missing: write {text}/24 for example, or none."));
    }
    let prefix: Prefix = text.parse().map_err(reason)?;
    // The check of the configuration knows what a host can have.
    let probe = format!("interface.eth0.addresses = [\"{prefix}\"]");
    match Config::parse(&probe, "") {
        Ok(_) => Ok(Some(prefix)),
        Err(problems) => {
            Err(problems.first().map_or_else(String::new, |p| format!("{} ({})", p.reason, p.help)))
        }
    }
}

fn gateway(text: &str, address: Option<Prefix>) -> Result<Option<IpAddr>, String> {
    if text == NONE {
        return Ok(None);
    }
    let via: IpAddr = text
        .parse()
        .map_err(|_| format!("{text:?} is not an address: write 192.0.2.1 for example, or none."))?;
    let Some(own) = address else {
        return Err("Without an address of its own this box reaches no gateway: write none.".to_owned());
    };
    if Family::of(&via) != own.family() {
        return Err(format!("The address is {}: so must be the gateway, or write none.", own.family()));
    }
    if via == own.address() {
        return Err(format!("{via} is this box itself: write the router's address, or none."));
    }
    if !own.contains(&via) {
        return Err(format!("{via} is not in the network of {own}: write an address there, or none."));
    }
    Ok(Some(via))
}

/// Words of a list; commas are allowed between them.
fn items<T>(text: &str, most: usize, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    if text == NONE {
        return Ok(Vec::new());
    }
    let words: Vec<&str> = text.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    if words.len() > most {
        return Err(format!("These are {}; {most} are the most.", words.len()));
    }
    words.into_iter().map(read).collect()
}

fn name_servers(text: &str) -> Result<Vec<IpAddr>, String> {
    items(text, NAME_SERVERS_MAX, |word| {
        let bad = || format!("{word:?} is not an address: write up to three, as 192.0.2.53, or none.");
        let address: IpAddr = word.parse().map_err(|_| bad())?;
        match address.is_multicast() || address.is_unspecified() || address.is_loopback() {
            true => Err(bad()),
            false => Ok(address),
        }
    })
}

fn time_servers(text: &str) -> Result<Vec<Host>, String> {
    items(text, TIME_SERVERS_MAX, |word| word.parse().map_err(reason))
}

/// What the interface to the other box is judged by.
struct PeerPlace<'a> {
    before: &'a Config,
    ports: &'a [Port],
    management: &'a IfName,
    address: Option<Prefix>,
}

impl PeerPlace<'_> {
    /// `none`, an interface that has an IPv4 address, or an interface and the address it gets: the kernel's sync
    /// daemon sends from one.
    fn read(&self, text: &str) -> Result<Option<(IfName, Option<Prefix>)>, String> {
        if text == NONE {
            return Ok(None);
        }
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let own = words.next();
        if words.next().is_some() {
            return Err("Write an interface, an interface and its address, or none.".to_owned());
        }
        let known = self.management.as_str() == name
            || self.before.interface.keys().any(|interface| interface.as_str() == name);
        let name = if known { name.parse().map_err(reason)? } else { port(name, self.ports)? };
        match own {
            Some(own) => {
                let own = own_address(own)?.ok_or("none is not an address")?;
                if self.address.is_some_and(|address| address.address() == own.address()) {
                    return Err(format!("{} is the management address already.", own.address()));
                }
                if own.family() != Family::V4 {
                    return Err("Connection sync needs an IPv4 address.".to_owned());
                }
                Ok(Some((name, Some(own))))
            }
            None if self.has_address(&name) => Ok(Some((name, None))),
            None => Err(format!(
                "{name} needs an IPv4 address for that: write {name} 169.254.1.1/30 for example."
            )),
        }
    }

    fn has_address(&self, name: &IfName) -> bool {
        if self.management == name {
            return self.address.is_some_and(|address| address.family() == Family::V4);
        }
        let interface = self.before.interface.get(name);
        interface.is_some_and(|interface| interface.addresses.iter().any(|a| a.family() == Family::V4))
    }
}
