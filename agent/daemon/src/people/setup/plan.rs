//! From answers to edits: what must change in the running configuration, and nothing else.

use std::net::IpAddr;

use bascule_core::config::Config;
use bascule_core::config::edit::Edit;
use bascule_core::config::model::Route;
use bascule_core::net::{Family, IfName, Name, Prefix, VlanId};

use super::questions::Answers;

/// The management interface of a configuration: the first that has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The interface.
    pub interface: IfName,
    /// The port below it; itself without a VLAN.
    pub port: IfName,
    /// Its VLAN.
    pub vlan: Option<VlanId>,
    /// Its first address.
    pub address: Option<Prefix>,
}

/// What a configuration has for management.
pub fn present(config: &Config) -> Option<Present> {
    let (name, interface) = config.interface.iter().find(|(_, interface)| !interface.addresses.is_empty())?;
    Some(Present {
        interface: name.clone(),
        port: interface.vlan.as_ref().map_or_else(|| name.clone(), |vlan| vlan.parent.clone()),
        vlan: interface.vlan.as_ref().map(|vlan| vlan.id),
        address: interface.addresses.first().copied(),
    })
}

/// The default route of a family, with its name.
pub fn default_route(config: &Config, family: Family) -> Option<(&Name, &Route)> {
    config.route.iter().find(|(_, route)| route.to.length() == 0 && route.to.family() == family)
}

/// The interface that carries the management address: the port, or its VLAN (`eth0.100`; `vlan100` where that would
/// be too long for the kernel).
pub fn management(port: &IfName, vlan: Option<VlanId>) -> IfName {
    let Some(id) = vlan else { return port.clone() };
    let short = || format!("vlan{id}").parse().ok();
    format!("{port}.{id}").parse().ok().or_else(short).unwrap_or_else(|| port.clone())
}

/// The edits that turn `before` into what was answered.
pub fn edits(before: &Config, answers: &Answers) -> Vec<Edit> {
    let mut edits = Edits(Vec::new());
    let interface = management(&answers.port, answers.vlan);
    if before.system.hostname.as_ref() != Some(&answers.hostname) {
        edits.set(&["system", "hostname", answers.hostname.as_str()]);
    }
    vlan(&mut edits, before, answers, &interface);
    address(&mut edits, before, answers, &interface);
    gateway(&mut edits, before, answers);
    edits.list(&["system", "name-servers"], &before.system.name_servers, &answers.name_servers);
    edits.list(&["system", "ntp-servers"], &before.system.ntp_servers, &answers.ntp_servers);
    peer(&mut edits, before, answers);
    edits.0
}

fn vlan(edits: &mut Edits, before: &Config, answers: &Answers, interface: &IfName) {
    let Some(id) = answers.vlan else { return };
    let old = before.interface.get(interface).and_then(|old| old.vlan.as_ref());
    if old.is_none_or(|old| old.id != id || old.parent != answers.port) {
        edits.set(&["interface", interface.as_str(), "vlan", "parent", answers.port.as_str()]);
        edits.set(&["interface", interface.as_str(), "vlan", "id", &id.to_string()]);
    }
}

fn address(edits: &mut Edits, before: &Config, answers: &Answers, interface: &IfName) {
    let old = present(before).and_then(|old| Some((old.interface, old.address?)));
    let new = answers.address.map(|address| (interface.clone(), address));
    if old == new {
        return;
    }
    if let Some((interface, address)) = old {
        edits.delete(&["interface", interface.as_str(), "addresses", &address.to_string()]);
    }
    if let Some((interface, address)) = new {
        edits.set(&["interface", interface.as_str(), "addresses", &address.to_string()]);
    }
}

fn gateway(edits: &mut Edits, before: &Config, answers: &Answers) {
    let families = [Family::V4, Family::V6];
    for family in families {
        let old = default_route(before, family);
        let new = answers.gateway.filter(|via| Family::of(via) == family);
        match (old, new) {
            (Some((_, route)), Some(via)) if route.via == via => {}
            (Some((name, _)), Some(via)) => edits.set(&["route", name.as_str(), "via", &via.to_string()]),
            (None, Some(via)) => {
                let (name, to) = match family {
                    Family::V4 => ("default", "0.0.0.0/0"),
                    Family::V6 => ("default6", "::/0"),
                };
                edits.set(&["route", name, "to", to]);
                edits.set(&["route", name, "via", &via.to_string()]);
            }
            // Asked for and answered with none; the other family was not asked for, but may have lost its way.
            (Some((name, route)), None)
                if answers.address.is_none_or(|address| address.family() == family)
                    || cut_off(before, answers, &route.via) =>
            {
                edits.delete(&["route", name.as_str()]);
            }
            (Some(_) | None, None) => {}
        }
    }
}

/// Whether `via` was reached only by the management address that goes.
fn cut_off(before: &Config, answers: &Answers, via: &IpAddr) -> bool {
    let old = present(before).and_then(|old| old.address).filter(|old| Some(*old) != answers.address);
    let all = before.interface.values().flat_map(|interface| &interface.addresses);
    let mut ways = all.filter(|address| address.contains(via));
    ways.all(|way| Some(*way) == old) && !answers.address.is_some_and(|address| address.contains(via))
}

fn peer(edits: &mut Edits, before: &Config, answers: &Answers) {
    let Some((interface, address)) = &answers.peer else {
        if before.sync.is_some() {
            edits.delete(&["sync"]);
        }
        return;
    };
    if let Some(address) = address
        && before.interface.get(interface).is_none_or(|old| !old.addresses.contains(address))
    {
        edits.set(&["interface", interface.as_str(), "addresses", &address.to_string()]);
    }
    if before.sync.as_ref().is_none_or(|sync| sync.interface != *interface) {
        edits.set(&["sync", "interface", interface.as_str()]);
    }
}

struct Edits(Vec<Edit>);

impl Edits {
    fn set(&mut self, words: &[&str]) {
        self.0.push(Edit::Set(words.iter().map(|&word| word.to_owned()).collect()));
    }

    fn delete(&mut self, words: &[&str]) {
        self.0.push(Edit::Delete(words.iter().map(|&word| word.to_owned()).collect()));
    }

    /// Order counts, so a list that differs is made anew.
    fn list<T: ToString + PartialEq>(&mut self, path: &[&str], old: &[T], new: &[T]) {
        if old == new {
            return;
        }
        if !old.is_empty() {
            self.delete(path);
        }
        for value in new {
            let value = value.to_string();
            self.set(&[path, &[value.as_str()]].concat());
        }
    }
}

/// An edit as it would be typed.
pub fn words(edit: &Edit) -> String {
    match edit {
        Edit::Set(words) => format!("set {}", words.join(" ")),
        Edit::Delete(words) => format!("delete {}", words.join(" ")),
        other => format!("{other:?}"),
    }
}
