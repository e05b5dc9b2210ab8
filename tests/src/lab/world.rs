//! The usual scene: a segment with two boxes and an observer.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bascule_image::net::{Host, Netns, Segment};

use super::agent::Agent;
use super::observer::Observer;

/// A box of the scene.
#[derive(Debug)]
pub struct Node {
    /// Its namespace with `eth0` on the segment.
    pub host: Host,
    /// Ethernet address of `eth0`.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub v4: IpAddr,
    /// Its link-local IPv6 address.
    pub link_local: IpAddr,
}

/// Two boxes `a` and `b`, a third host `c` with an observer, all on one segment.
///
/// `a` is 10.9.0.1 and 2001:db8:9::1, `b` ends in 2, `c` in 3.
#[derive(Debug)]
pub struct World {
    /// What `c` sees.
    pub observer: Observer,
    /// First box.
    pub a: Node,
    /// Second box.
    pub b: Node,
    /// Third host.
    pub c: Node,
    /// The switch.
    pub segment: Segment,
}

impl World {
    /// Makes the scene.
    ///
    /// # Errors
    /// Namespaces or sockets cannot be made.
    pub fn new() -> Result<Self> {
        let segment = Segment::new("lan")?;
        let (a, b, c) = (node(&segment, "a", 1)?, node(&segment, "b", 2)?, node(&segment, "c", 3)?);
        let observer = Observer::start(&c.host.netns)?;
        Ok(Self { observer, a, b, c, segment })
    }

    /// A power cut of a box: its frames end first, then its process, then its memory. The kernel of the
    /// namespace is emptied as a fresh boot would have it.
    ///
    /// # Errors
    /// The switch or the namespace refuses.
    pub fn cut(&self, node: &Node, agent: &mut Agent) -> Result<()> {
        self.segment.isolate(&node.host.port)?;
        agent.lose_power()?;
        node.forget_addresses()
    }
}

impl Node {
    /// Removes every address that an agent or another VRRP speaker has put on `eth0`.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn forget_addresses(&self) -> Result<()> {
        for (address, length) in addresses(&self.host.netns, "eth0")? {
            if address != self.v4 && address != self.link_local && !is_own_v6(address) {
                self.host.netns.ip(&format!("address del {address}/{length} dev eth0"))?;
            }
        }
        Ok(())
    }

    /// Whether `eth0` has this address now.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn has(&self, address: &str) -> Result<bool> {
        let wanted: IpAddr = address.parse()?;
        Ok(addresses(&self.host.netns, "eth0")?.iter().any(|(found, _)| *found == wanted))
    }

    /// Waits until `eth0` has (or has no longer) this address.
    ///
    /// # Errors
    /// Not within `limit`.
    pub fn wait_has(&self, address: &str, wanted: bool, limit: Duration) -> Result<()> {
        let what = format!("{address} {} on eth0", if wanted { "appears" } else { "goes" });
        super::process::wait_for(&what, limit, || (self.has(address).ok()? == wanted).then_some(()))
    }
}

fn is_own_v6(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.segments()[7] <= 3 || v6.is_unicast_link_local(),
    }
}

fn node(segment: &Segment, role: &str, number: u8) -> Result<Node> {
    let host = segment.host(role, &[&format!("10.9.0.{number}/24"), &format!("2001:db8:9::{number}/64")])?;
    let mac = mac(&host.netns, "eth0")?;
    let own = addresses(&host.netns, "eth0")?;
    let link_local = own.iter().map(|(address, _)| *address).find(|address| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    });
    let link_local = link_local.context("eth0 has no link-local address")?;
    Ok(Node { host, mac, v4: format!("10.9.0.{number}").parse()?, link_local })
}

/// The addresses of an interface with their prefix lengths.
///
/// # Errors
/// `ip` fails.
pub fn addresses(netns: &Netns, interface: &str) -> Result<Vec<(IpAddr, u64)>> {
    let found = ip_json(netns, &["address", "show", "dev", interface])?;
    let infos = found.pointer("/0/addr_info").and_then(|infos| infos.as_array().cloned()).unwrap_or_default();
    infos
        .iter()
        .map(|info| {
            let address = info["local"].as_str().context("an address without `local`")?.parse()?;
            Ok((address, info["prefixlen"].as_u64().context("an address without `prefixlen`")?))
        })
        .collect()
}

/// The Ethernet address of an interface.
///
/// # Errors
/// `ip` fails.
pub fn mac(netns: &Netns, interface: &str) -> Result<[u8; 6]> {
    let found = ip_json(netns, &["link", "show", "dev", interface])?;
    let text = found.pointer("/0/address").and_then(|text| text.as_str()).context("no address")?;
    let bytes: Vec<u8> = text.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes.try_into().ok().with_context(|| format!("{text} is no Ethernet address"))
}

/// What `ip -json` says in a namespace.
///
/// # Errors
/// `ip` fails.
pub fn ip_json(netns: &Netns, arguments: &[&str]) -> Result<serde_json::Value> {
    let mut command = std::process::Command::new("ip");
    command.args(["-n", netns.name(), "-json"]).args(arguments);
    let text = bascule_image::host::output(&mut command)?;
    serde_json::from_str(&text).with_context(|| format!("`ip -json` said {text}"))
}
