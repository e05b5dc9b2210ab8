//! The address thread: makes the kernel's addresses and routes those that configuration and roles want, and
//! announces virtual addresses.
//!
//! It gets roles straight from the VRRP threads and uses netlink sockets of its own: a takeover waits neither
//! for the main thread nor for IPVS. On a change of roles it acts on the tables as last read, at once, and only
//! then reads them again, so that a dump is never between a takeover and its first announcement. Kernel events
//! and a poll lead to the same comparison: what somebody else removed comes back.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bascule_core::config::Config;
use bascule_core::config::model::VirtualAddress;
use bascule_core::desired::{self, AddressKey, AddressKind, Addressing, OURS};
use bascule_core::links::{self, LinkOp};
use bascule_core::net::{Family, IfName, Prefix};
use bascule_core::reconcile::{self, AddressOp};
use bascule_core::router::Roles;
use bascule_core::time::Instant;
use futures_util::StreamExt;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::{mpsc, watch};

use super::announcing::Announcing;
use super::rtnl::{self, RtnlError};
use super::sysctl;
use crate::link::announce::Announcer;
use crate::link::picture::{Interface, Picture};
use crate::sys::monotonic;

/// The tables are compared at least this often.
const POLL: Duration = Duration::from_secs(1);
/// How often a pass acts, reads again and acts on what is still different.
const ROUNDS: usize = 2;

const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// What the address thread found, for the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressesFound {
    /// The roles that have been carried out.
    pub roles: Roles,
    /// Addresses the kernel has of those that are wanted.
    pub present: HashSet<AddressKey>,
    /// What could not be brought about, with reasons.
    pub problems: Vec<String>,
    /// How often something was put right that somebody else had changed.
    pub repairs: u64,
}

/// Inputs of the address thread.
#[derive(Debug)]
pub struct Inputs {
    /// The running configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// The latest roles.
    pub roles: watch::Receiver<Roles>,
    /// While it is true, new roles are not carried out.
    pub hold: watch::Receiver<bool>,
    /// Addresses to announce once more.
    pub announcements: mpsc::UnboundedReceiver<(IfName, IpAddr)>,
    /// Where the findings go.
    pub found: watch::Sender<AddressesFound>,
}

/// Why a pass takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Roles or configuration changed.
    Wanted,
    /// The kernel may have changed, or it is time to look.
    Kernel,
}

/// Runs until the configuration's sender is gone.
///
/// # Errors
/// When the sockets cannot be opened.
pub async fn run(mut inputs: Inputs) -> io::Result<()> {
    let handle = rtnl::connect()?;
    let (connection, _, mut events) = new_multicast_connection(&GROUPS)?;
    tokio::spawn(connection);
    let mut worker = Worker::new(handle, Announcer::open()?);
    let mut cause = Cause::Wanted;
    loop {
        if cause == Cause::Wanted && !*inputs.hold.borrow_and_update() {
            worker.want(
                Arc::clone(&inputs.config.borrow_and_update()),
                inputs.roles.borrow_and_update().clone(),
            );
        }
        worker.pass(cause).await;
        inputs.found.send_replace(worker.found());
        cause = loop {
            tokio::select! {
                biased;
                changed = inputs.roles.changed(), if !*inputs.hold.borrow() => {
                    if changed.is_ok() { break Cause::Wanted } else { return Ok(()) }
                }
                changed = inputs.config.changed() => {
                    if changed.is_ok() { break Cause::Wanted } else { return Ok(()) }
                }
                Ok(()) = inputs.hold.changed() => break Cause::Wanted,
                () = sleep_until(worker.announcing.next()) => {
                    worker.announcing.repeat(&worker.wanted.addresses, &worker.picture);
                }
                Some((interface, address)) = inputs.announcements.recv() => {
                    worker.announcing.announce(&interface, address, &worker.wanted.addresses, &worker.picture);
                }
                event = events.next() => {
                    if event.is_none() {
                        return Err(io::Error::other("the kernel's events ended"));
                    }
                    // Whatever else is waiting is answered by the same pass.
                    while events.try_recv().is_ok() {}
                    break Cause::Kernel;
                }
                () = tokio::time::sleep(POLL) => break Cause::Kernel,
            }
        };
    }
}

/// Sleeps until `at`, for ever without one.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(monotonic())).await,
        None => std::future::pending().await,
    }
}

struct Worker {
    handle: Handle,
    announcing: Announcing,
    config: Arc<Config>,
    roles: Roles,
    wanted: Addressing,
    picture: Picture,
    routes: HashMap<Prefix, IpAddr>,
    /// Interfaces that were switched on and adjusted, by name, with their index then.
    prepared: HashMap<IfName, u32>,
    /// Whether the kernel keeps our mark (`IFA_PROTO`, Linux 5.18).
    marks: bool,
    /// Without marks: what this agent added.
    added: HashSet<AddressKey>,
    /// What the last pass could not do.
    left: Vec<AddressOp>,
    setting_problems: HashMap<IfName, Vec<String>>,
    link_problems: Vec<String>,
    problems: Vec<String>,
    repairs: u64,
}

impl Worker {
    fn new(handle: Handle, announcer: Announcer) -> Self {
        Self {
            handle,
            announcing: Announcing::new(announcer),
            config: Arc::default(),
            roles: Roles::default(),
            wanted: Addressing::default(),
            picture: Picture::default(),
            routes: HashMap::new(),
            prepared: HashMap::new(),
            marks: keeps_marks(&std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()),
            added: HashSet::new(),
            left: Vec::new(),
            setting_problems: HashMap::new(),
            link_problems: Vec::new(),
            problems: Vec::new(),
            repairs: 0,
        }
    }

    fn want(&mut self, config: Arc<Config>, roles: Roles) {
        self.wanted = desired::addressing(&config, &roles);
        self.config = config;
        self.roles = roles;
        self.announcing.want(&self.wanted.addresses);
    }

    async fn pass(&mut self, cause: Cause) {
        if cause == Cause::Wanted && !self.picture.interfaces.is_empty() {
            let ops = self.ops();
            self.act(&ops).await;
        }
        let mut acted = false;
        let mut disturbed = false;
        for round in 0..=ROUNDS {
            if let Err(error) = self.read().await {
                self.problems = vec![format!("cannot read addresses and routes from the kernel: {error}")];
                return;
            }
            self.shape_links().await;
            self.prepare().await;
            let ops = self.ops();
            if round == 0 {
                // Nobody asked for a change, and there is more to do than what failed before.
                disturbed = cause == Cause::Kernel && ops != self.left;
                self.problems.clear();
            }
            if ops.is_empty() || round == ROUNDS {
                self.left = ops;
                break;
            }
            acted |= self.act(&ops).await;
        }
        if self.left.is_empty() {
            self.problems.clear();
        }
        self.problems.extend(self.missing_interfaces());
        self.problems.extend(self.link_problems.iter().cloned());
        self.problems.extend(self.setting_problems.values().flatten().cloned());
        self.repairs += u64::from(disturbed && acted);
        self.announcing.what_was_there(self.present(), &self.wanted.addresses, &self.picture);
    }

    /// Carries out operations and notes what failed; whether any succeeded.
    async fn act(&mut self, ops: &[AddressOp]) -> bool {
        self.problems.clear();
        for op in ops {
            if let Err(problem) = self.execute(op).await {
                self.problems.push(problem);
            }
        }
        self.problems.len() < ops.len()
    }

    fn ops(&self) -> Vec<AddressOp> {
        let known: HashSet<&IfName> = self.picture.interfaces.keys().collect();
        let mut ops = reconcile::address_ops(&self.wanted, &self.known());
        let sure = self.sure();
        // An interface that does not exist is one problem, not one for each of its addresses.
        ops.retain(|op| match op {
            AddressOp::Add(key, _) => known.contains(&key.interface),
            AddressOp::Delete(key) => sure && known.contains(&key.interface),
            AddressOp::SetRoute(..) | AddressOp::DeleteRoute(..) => true,
        });
        ops
    }

    /// Whether anything may go. A predecessor's addresses stay until VRRP has said what this box is, and nothing goes
    /// while VRRP still runs a router that the configuration no longer has: its last advert needs an address to leave
    /// from.
    fn sure(&self) -> bool {
        desired::roles_known(&self.config, &self.roles)
            && self.roles.routers.keys().all(|name| self.config.vrrp.contains_key(name))
    }

    /// The kernel's tables as far as they concern us: what carries our mark, and what is wanted whoever made it.
    fn known(&self) -> Addressing {
        let names: HashMap<u32, &IfName> =
            self.picture.interfaces.iter().map(|(name, interface)| (interface.index, name)).collect();
        let addresses = self.picture.addresses.iter().filter_map(|address| {
            let interface = (*names.get(&address.index)?).clone();
            let key = AddressKey { interface, prefix: address.prefix };
            let marked = address.protocol == Some(OURS) || (!self.marks && self.assumed(&key));
            // Only a virtual address is ever added without the route to its network.
            let kind = if address.routeless { AddressKind::Virtual } else { AddressKind::Own };
            (marked || self.wanted.addresses.contains_key(&key)).then_some((key, kind))
        });
        let ahead = if self.sure() { self.ahead(&names) } else { BTreeSet::new() };
        Addressing { addresses: addresses.collect(), routes: self.routes.clone(), ahead }
    }

    /// Virtual addresses that the kernel lists before an own one of the same network. It lists them in the order in
    /// which they are primary (`ifa_list`); an IPv6 source is chosen in another way (RFC 6724).
    fn ahead(&self, names: &HashMap<u32, &IfName>) -> BTreeSet<AddressKey> {
        let wanted = self.picture.addresses.iter().filter_map(|address| {
            let key = AddressKey { interface: (*names.get(&address.index)?).clone(), prefix: address.prefix };
            let kind = *self.wanted.addresses.get(&key)?;
            (key.prefix.family() == Family::V4).then_some((key, kind))
        });
        let wanted: Vec<(AddressKey, AddressKind)> = wanted.collect();
        let before_own = |at: usize, key: &AddressKey| {
            wanted[at..].iter().any(|(other, kind)| *kind != AddressKind::Virtual && same_network(other, key))
        };
        let virtual_ = wanted.iter().enumerate().filter(|(_, (_, kind))| *kind == AddressKind::Virtual);
        virtual_.filter(|(at, (key, _))| before_own(*at, key)).map(|(_, (key, _))| key.clone()).collect()
    }

    /// Whether an address counts as ours on a kernel without marks: this agent added it, or it is one that the
    /// configuration gives to a virtual router (an agent before this one may have added it).
    fn assumed(&self, key: &AddressKey) -> bool {
        let configured = self.config.vrrp.values().any(|vrrp| {
            let same = |a: &VirtualAddress| {
                *a.prefix() == key.prefix && *a.interface(&vrrp.interface) == key.interface
            };
            vrrp.addresses.iter().any(same)
        });
        configured || self.added.contains(key)
    }

    async fn execute(&mut self, op: &AddressOp) -> Result<(), String> {
        match op {
            AddressOp::Add(key, kind) => {
                let index = self.index(&key.interface)?;
                let covered = self.covered(key);
                rtnl::add_address(&self.handle, index, key.prefix, *kind, covered)
                    .await
                    .map_err(|error| address_problem("added to", key, &error))?;
                if !self.marks {
                    self.added.insert(key.clone());
                }
                if kind.is_announced() {
                    self.announcing.first(key, &self.wanted.addresses, &self.picture);
                }
                Ok(())
            }
            AddressOp::Delete(key) => {
                let index = self.index(&key.interface)?;
                rtnl::delete_address(&self.handle, index, key.prefix)
                    .await
                    .map_err(|error| address_problem("removed from", key, &error))
            }
            AddressOp::SetRoute(to, via) => rtnl::set_route(&self.handle, *to, *via)
                .await
                .map_err(|error| format!("route {to} via {via} cannot be set: {error}")),
            AddressOp::DeleteRoute(to, via) => rtnl::delete_route(&self.handle, *to, *via)
                .await
                .map_err(|error| format!("route {to} via {via} cannot be removed: {error}")),
        }
    }

    fn index(&self, interface: &IfName) -> Result<u32, String> {
        let found = self.picture.interfaces.get(interface);
        found.map(|interface| interface.index).ok_or_else(|| format!("interface {interface} does not exist"))
    }

    /// Whether the box wants an address of its own in the same network on the same interface.
    fn covered(&self, virtual_: &AddressKey) -> bool {
        self.wanted.addresses.iter().any(|(key, kind)| {
            *kind != AddressKind::Virtual
                && key.interface == virtual_.interface
                && key.prefix.length() <= virtual_.prefix.length()
                && key.prefix.contains(&virtual_.prefix.address())
        })
    }

    async fn read(&mut self) -> Result<(), rtnetlink::Error> {
        let picture = Picture::read(&self.handle).await?;
        self.routes = rtnl::routes(&self.handle).await?;
        let came_up = |name: &IfName| {
            let running = |picture: &Picture| picture.interfaces.get(name).is_some_and(|i| i.running);
            running(&picture) && !running(&self.picture)
        };
        self.announcing.came_up(came_up);
        self.picture = picture;
        Ok(())
    }

    /// Makes, changes and removes VLAN interfaces and sets MTUs; the tables are read again after a change.
    async fn shape_links(&mut self) {
        let found = |interface: &Interface| (interface.index, interface.link.clone());
        let found: links::Found = self
            .picture
            .interfaces
            .iter()
            .map(|(name, interface)| (name.clone(), found(interface)))
            .collect();
        let (ops, mut problems) = links::ops(&self.config, &found, self.sure());
        let mut changed = false;
        for op in &ops {
            match rtnl::change_link(&self.handle, op).await {
                Ok(()) => changed = true,
                Err(error) => problems.push(link_problem(op, &found, &error)),
            }
        }
        if changed && let Err(error) = self.read().await {
            problems.push(format!("cannot read interfaces from the kernel: {error}"));
        }
        self.link_problems = problems;
    }

    /// Switches interfaces in use on and sets what they need, once for each time they appear.
    async fn prepare(&mut self) {
        for name in interfaces_in_use(&self.config) {
            let Some(interface) = self.picture.interfaces.get(&name) else {
                self.prepared.remove(&name);
                self.setting_problems.remove(&name);
                continue;
            };
            if self.prepared.get(&name) == Some(&interface.index) {
                continue;
            }
            self.prepared.insert(name.clone(), interface.index);
            let mut problems = sysctl::write_interface(&name);
            if !interface.up
                && let Err(error) = rtnl::set_up(&self.handle, interface.index).await
            {
                problems.push(format!("interface {name} cannot be switched on: {error}"));
            }
            self.setting_problems.insert(name, problems);
        }
    }

    fn missing_interfaces(&self) -> Vec<String> {
        let mut missing: Vec<IfName> = interfaces_in_use(&self.config)
            .into_iter()
            .filter(|name| !self.picture.interfaces.contains_key(name))
            .collect();
        missing.sort();
        missing.iter().map(|name| format!("interface {name} does not exist")).collect()
    }

    fn present(&self) -> HashSet<AddressKey> {
        let found = self.known().addresses;
        found.into_keys().filter(|key| self.wanted.addresses.contains_key(key)).collect()
    }

    fn found(&self) -> AddressesFound {
        AddressesFound {
            roles: self.roles.clone(),
            present: self.present(),
            problems: self.problems.clone(),
            repairs: self.repairs,
        }
    }
}

/// Whether the kernel makes one of them the secondary of the other (`__inet_insert_ifa` in net/ipv4/devinet.c).
fn same_network(one: &AddressKey, other: &AddressKey) -> bool {
    one.interface == other.interface
        && one.prefix.length() == other.prefix.length()
        && one.prefix.contains(&other.prefix.address())
}

/// Every interface that the configuration names.
fn interfaces_in_use(config: &Config) -> HashSet<IfName> {
    let own = config.interface.keys();
    let adverts = config.vrrp.values().map(|vrrp| &vrrp.interface);
    let addresses = config
        .vrrp
        .values()
        .flat_map(|vrrp| vrrp.addresses.iter().map(|address| address.interface(&vrrp.interface)));
    let sync = config.sync.iter().map(|sync| &sync.interface);
    let below = config.interface.values().filter_map(|own| own.vlan.as_ref()).map(|vlan| &vlan.parent);
    own.chain(below).chain(adverts).chain(addresses).chain(sync).cloned().collect()
}

/// Whether a kernel of this release keeps `IFA_PROTO`: 5.18 and later.
fn keeps_marks(release: &str) -> bool {
    let mut numbers = release.split(['.', '-', '+', '\n']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (5, 18)
}

fn link_problem(op: &LinkOp, found: &links::Found, error: &RtnlError) -> String {
    let name = |index: &u32| {
        let named = found.iter().find(|(_, (i, _))| i == index);
        named.map_or_else(|| format!("number {index}"), |(name, _)| name.to_string())
    };
    match op {
        LinkOp::Create { name: new, parent, id, .. } => {
            format!("interface {new} cannot be made as VLAN {id} of {}: {error}", name(parent))
        }
        LinkOp::Delete(index) => format!("interface {} cannot be removed: {error}", name(index)),
        LinkOp::SetMtu { index, mtu, .. } => {
            format!("interface {} cannot have MTU {mtu}: {error}", name(index))
        }
    }
}

fn address_problem(verb: &str, key: &AddressKey, error: &RtnlError) -> String {
    let hint = match error {
        RtnlError::Refused(nix::errno::Errno::EACCES, _) => {
            " (IPv6 is switched off there: sysctl net.ipv6.conf.INTERFACE.disable_ipv6)"
        }
        RtnlError::Refused(..) | RtnlError::NoAnswer => "",
    };
    format!("address {} cannot be {verb} interface {}: {error}{hint}", key.prefix, key.interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_kept_since_linux_5_18() {
        for (release, kept) in [
            ("5.17.9", false),
            ("5.18.0", true),
            ("5.18-rc1", true),
            ("6.1.0-56-cloud-amd64\n", true),
            ("4.19.0", false),
            ("", false),
        ] {
            assert_eq!(keeps_marks(release), kept, "{release}");
        }
    }

    #[test]
    fn every_interface_that_the_configuration_names_is_in_use() {
        let text = r#"{
            "interface": { "eth0": { "addresses": ["10.0.0.1/24"] } },
            "vrrp": { "front": { "interface": "eth1", "vrid": 1, "addresses":
                ["10.0.1.100/24", { "address": "10.0.2.100/24", "interface": "eth2" }] } },
            "sync": { "interface": "eth3" }
        }"#;
        let config: Config = serde_json::from_str(text).expect("a configuration");
        let mut names: Vec<String> = interfaces_in_use(&config).iter().map(ToString::to_string).collect();
        names.sort();
        assert_eq!(names, ["eth0", "eth1", "eth2", "eth3"]);
    }
}
