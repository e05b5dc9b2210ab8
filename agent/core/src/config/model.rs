//! The configuration model: the only description of what can be configured.
//!
//! The doc comments here are what the reference manual and the schema print, so they are written for the
//! operator. Named objects are tables keyed by their name, which is also their path:
//! `virtual-server.web.real-server."10.1.0.21:80".weight`.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::net::{
    Endpoint, Host, IfName, Mtu, Name, Port, Prefix, Priority, Scheduler, ValueError, VlanId, Vrid, Weight,
};

/// The whole configuration of a box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// The box itself.
    pub system: System,
    /// Network interfaces and the box's own addresses, by interface name.
    pub interface: BTreeMap<IfName, Interface>,
    /// Static routes, by name.
    pub route: BTreeMap<Name, Route>,
    /// VRRP virtual routers, by name. Each holds its addresses while it is Master.
    pub vrrp: BTreeMap<Name, Vrrp>,
    /// IPVS connection synchronisation between the two boxes of a pair.
    pub sync: Option<Sync>,
    /// The other box of the pair, for `update pair`.
    pub peer: Option<Peer>,
    /// Balanced services, by name.
    pub virtual_server: BTreeMap<Name, VirtualServer>,
}

/// The box itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct System {
    /// Host name, shown in the prompt, in logs and in the status.
    pub hostname: Option<Name>,
    /// DNS servers that this box asks, at most three, in this order.
    #[schemars(extend("examples" = [["192.0.2.53"]]))]
    pub name_servers: Vec<IpAddr>,
    /// Time servers (NTP), by name or address; the first that answers sets the clock.
    pub ntp_servers: Vec<Host>,
}

/// A network interface of the box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Interface {
    /// The box's own addresses here, each with its prefix length. Virtual addresses belong to `vrrp`.
    pub addresses: Vec<Prefix>,
    /// Makes this a VLAN interface; without it the interface is one that the box has.
    pub vlan: Option<Vlan>,
    /// Largest packet in bytes, 68 to 65535; the driver's choice when left out. Counts for one VLAN or the whole
    /// port, and must be the same on every machine of the segment.
    pub mtu: Option<Mtu>,
}

/// A VLAN (IEEE 802.1Q) on a port of the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vlan {
    /// Interface that carries the tagged frames. It need not be configured itself.
    pub parent: IfName,
    /// VLAN id, 1 to 4094.
    pub id: VlanId,
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Route {
    /// Destination network; `0.0.0.0/0` or `::/0` for the default route.
    #[schemars(extend("examples" = ["0.0.0.0/0", "10.0.0.0/8"]))]
    pub to: Prefix,
    /// Address of the next router.
    pub via: IpAddr,
}

/// A VRRPv3 virtual router (RFC 9568). All addresses are of one family: make two for a dual-stack service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vrrp {
    /// Interface that carries the adverts.
    pub interface: IfName,
    /// Virtual router identifier, the same on both boxes, unique on the segment.
    pub vrid: Vrid,
    /// Priority: the higher box becomes Master. 255 only on the box whose own address is virtual here.
    #[serde(default = "default_priority")]
    pub priority: Priority,
    /// Interval between adverts, the same on both boxes: 10ms to 40950ms in steps of 10ms. A Backup takes over
    /// after three of them plus its skew.
    #[serde(default)]
    pub advert_interval: AdvertInterval,
    /// Whether a higher priority takes the addresses back from a lower one.
    #[serde(default = "yes")]
    pub preempt: bool,
    /// How long a higher-priority Backup waits before it preempts.
    #[serde(default)]
    pub preempt_delay: Span,
    /// Virtual addresses, with the prefix length they get on the interface (without one: a host address).
    pub addresses: Vec<VirtualAddress>,
    /// Compute the IPv4 checksum without pseudo-header when sending, for peers that read RFC 9568 so.
    /// Both readings are always accepted.
    #[serde(default)]
    pub v3_checksum_as_v2: bool,
}

/// A virtual address: a prefix, or a table that also names the interface when it is another one than the adverts'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum VirtualAddress {
    /// On the interface of the adverts.
    Here(Prefix),
    /// On another interface.
    On(AddressOn),
}

impl<'de> Deserialize<'de> for VirtualAddress {
    /// By hand, because serde's untagged enums lose the reason why nothing fits.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = VirtualAddress;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("an address with prefix length or a table of address and interface")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<VirtualAddress, E> {
                text.parse().map(VirtualAddress::Here).map_err(E::custom)
            }

            fn visit_map<M: serde::de::MapAccess<'de>>(self, map: M) -> Result<VirtualAddress, M::Error> {
                let table = serde::de::value::MapAccessDeserializer::new(map);
                AddressOn::deserialize(table).map(VirtualAddress::On)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A virtual address on an interface of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddressOn {
    /// The address with its prefix length.
    pub address: Prefix,
    /// The interface that gets it.
    pub interface: IfName,
}

impl VirtualAddress {
    /// The address with its prefix length.
    #[must_use]
    pub const fn prefix(&self) -> &Prefix {
        match self {
            Self::Here(prefix) => prefix,
            Self::On(on) => &on.address,
        }
    }

    /// The interface that gets it, given the one of the adverts.
    #[must_use]
    pub const fn interface<'a>(&'a self, adverts: &'a IfName) -> &'a IfName {
        match self {
            Self::Here(_) => adverts,
            Self::On(on) => &on.interface,
        }
    }
}

/// IPVS connection synchronisation: both boxes send and both receive, so nothing is switched at failover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sync {
    /// Interface of the multicast. Use a trusted segment: the protocol has no authentication.
    pub interface: IfName,
    /// Sync id, 0 to 255, the same on both boxes of a pair.
    #[serde(default)]
    pub id: u8,
    /// Multicast group.
    #[serde(default = "default_group")]
    pub group: Ipv4Addr,
    /// UDP port.
    #[serde(default = "default_sync_port")]
    pub port: Port,
}

/// The other box of a pair: both are updated by one command. Nothing listens before both boxes have the same key
/// (`peer key`), which is not part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Peer {
    /// The other box's own address, never a virtual one.
    pub address: IpAddr,
    /// Interface towards it. It has an address of this box in the same network, and only there this box listens.
    pub interface: IfName,
    /// TCP port, the same on both boxes.
    #[serde(default = "default_peer_port")]
    pub port: Port,
}

/// A balanced service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct VirtualServer {
    /// Virtual address; normally one of a virtual router's.
    pub address: IpAddr,
    /// Port of the service.
    pub port: Port,
    /// Transport protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// IPVS scheduler, any that the kernel has: rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh.
    #[serde(default)]
    pub scheduler: Scheduler,
    /// How packets reach the real servers.
    #[serde(default)]
    pub forward: Forward,
    /// Keep a client on its real server for this long after its last connection: 1s to 31d in whole seconds.
    #[serde(default)]
    pub persistence: Option<Span>,
    /// Health check of every real server here.
    #[serde(default)]
    pub check: Option<Check>,
    /// Real servers, by address and port. With `forward = "dr"` the port is the service's.
    #[serde(default)]
    pub real_server: BTreeMap<Endpoint, RealServer>,
    /// Server that answers while no healthy real server takes new connections. It is not checked.
    #[serde(default)]
    pub sorry_server: Option<Endpoint>,
}

/// A real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RealServer {
    /// Share of new connections; 0 takes none.
    #[serde(default = "default_weight")]
    pub weight: Weight,
}

/// Transport protocol of a service.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// Forwarding method (`ipvsadm -m`, `-g`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// Network address translation: replies pass through the box, which must be the servers' gateway.
    #[default]
    Nat,
    /// Direct routing: replies go straight to the client; servers carry the virtual address on `lo`.
    Dr,
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Check {
    /// What a probe does.
    pub kind: CheckKind,
    /// Time between the starts of two probes, at least 10ms. While a server is about to change state, probes come
    /// five times as often.
    #[serde(default = "default_check_interval")]
    pub interval: Span,
    /// A probe that takes longer has failed; at most the interval.
    #[serde(default = "default_check_timeout")]
    pub timeout: Span,
    /// Successes in a row that bring a real server in.
    #[serde(default = "default_rise")]
    #[schemars(range(min = 1))]
    pub rise: u8,
    /// Failures in a row that take a real server out.
    #[serde(default = "default_fall")]
    #[schemars(range(min = 1))]
    pub fall: u8,
    /// Port to probe instead of that of the real server.
    #[serde(default)]
    pub port: Option<Port>,
    /// Whether a real server is in before its first probe.
    #[serde(default)]
    pub start: Start,
}

/// What a probe does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckKind {
    /// Open a TCP connection and close it.
    Tcp,
}

/// State of a real server before its first probe.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Out until it has risen.
    #[default]
    Pessimistic,
    /// In until it has fallen.
    Optimistic,
}

/// A duration as an operator writes it: `250ms`, `1s`, `5m`, `2h`. Range 0 to 365 days, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

impl Span {
    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// As a duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl core::str::FromStr for Span {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bad = || ValueError::Duration(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let scale = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let millis = number.checked_mul(scale).filter(|ms| *ms <= 365 * 86_400_000).ok_or_else(bad)?;
        Ok(Self::from_millis(millis))
    }
}

impl TryFrom<String> for Span {
    type Error = ValueError;
    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl core::fmt::Display for Span {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let millis = self.0.as_millis();
        let text = match millis {
            0 => "0s".to_owned(),
            ms if ms % 86_400_000 == 0 => format!("{}d", ms / 86_400_000),
            ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
            ms => format!("{ms}ms"),
        };
        f.pad(&text)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl Peer {
    /// The address of this box that the other one reaches it at.
    #[must_use]
    pub fn own(&self, config: &Config) -> Option<IpAddr> {
        let interface = config.interface.get(&self.interface)?;
        let near = |prefix: &&Prefix| prefix.contains(&self.address) && prefix.address() != self.address;
        interface.addresses.iter().find(near).map(Prefix::address)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "examples": ["2s", "250ms"] })
    }
}

/// VRRPv3 advertisement interval: 10 ms to 40.95 s in steps of 10 ms (12 bits of centiseconds, RFC 9568
/// section 5.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Span", into = "Span")]
pub struct AdvertInterval(u16);

impl AdvertInterval {
    /// From centiseconds, 1 to 4095.
    ///
    /// # Errors
    /// Outside that range.
    pub fn from_centis(centis: u16) -> Result<Self, ValueError> {
        if (1..=4095).contains(&centis) {
            Ok(Self(centis))
        } else {
            Err(ValueError::Interval(format!("{}ms", u32::from(centis) * 10)))
        }
    }

    /// In centiseconds, as on the wire.
    #[must_use]
    pub const fn centis(self) -> u16 {
        self.0
    }

    /// As a duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0 as u64 * 10)
    }
}

impl Default for AdvertInterval {
    /// One second (RFC 9568 section 6.1).
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<Span> for AdvertInterval {
    type Error = ValueError;
    fn try_from(span: Span) -> Result<Self, ValueError> {
        let millis = span.get().as_millis();
        match u16::try_from(millis / 10) {
            Ok(centis) if millis.is_multiple_of(10) => {
                Self::from_centis(centis).map_err(|_| ValueError::Interval(span.to_string()))
            }
            _ => Err(ValueError::Interval(span.to_string())),
        }
    }
}

impl From<AdvertInterval> for Span {
    fn from(interval: AdvertInterval) -> Self {
        Self(interval.get())
    }
}

impl JsonSchema for AdvertInterval {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "AdvertInterval".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s)$", "examples": ["1s", "100ms"] })
    }
}

const fn yes() -> bool {
    true
}
const fn default_priority() -> Priority {
    Priority::DEFAULT
}
const fn default_group() -> Ipv4Addr {
    Ipv4Addr::new(224, 0, 0, 81)
}
fn default_sync_port() -> Port {
    Port::new(8848).unwrap_or_else(|_| unreachable!("a constant"))
}
fn default_peer_port() -> Port {
    Port::new(7411).unwrap_or_else(|_| unreachable!("a constant"))
}
fn default_weight() -> Weight {
    Weight::new(1).unwrap_or(Weight::MIN)
}
const fn default_check_interval() -> Span {
    Span::from_millis(2_000)
}
const fn default_check_timeout() -> Span {
    Span::from_millis(1_000)
}
const fn default_rise() -> u8 {
    1
}
const fn default_fall() -> u8 {
    2
}
