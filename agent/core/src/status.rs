//! The picture of the box that `show status` prints.
//!
//! It travels on the control socket: fields are append-only, as postcard has no names.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::config::model::Protocol;
use crate::desired::{AddressKey, DestinationKey, Ipvs, ServiceKey};
use crate::net::{Endpoint, IfName, Name, Prefix};
use crate::router::{RouterStatus, Statistics};

/// The whole picture of a box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Host name.
    pub hostname: String,
    /// Version of the binary.
    pub version: String,
    /// Time since the agent started.
    pub agent_uptime: Duration,
    /// Time since the box booted.
    pub box_uptime: Duration,
    /// Where the running configuration comes from, and why not from the newest file if so.
    pub configuration: String,
    /// Virtual routers.
    pub routers: Vec<RouterLine>,
    /// Services.
    pub services: Vec<ServiceLine>,
    /// Sync daemons as found in the kernel, in words ("master eth0 id 7").
    pub sync: Vec<String>,
    /// How late our adverts left.
    pub lateness: Lateness,
    /// Kernel state that could not be brought about, with reasons; empty when wanted equals found.
    pub problems: Vec<String>,
    /// How often the kernel was found different from wanted without our doing, and repaired.
    pub repairs: u64,
    /// Adverts counted, at most a second old.
    pub adverts: Statistics,
    /// Whether the box is in maintenance.
    pub maintenance: bool,
}

/// A virtual router in `Status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterLine {
    /// Name.
    pub name: Name,
    /// Interface.
    pub interface: IfName,
    /// Identifier.
    pub vrid: u8,
    /// State.
    pub status: RouterStatus,
    /// Time in this state.
    pub for_: Duration,
    /// Virtual addresses and whether the kernel has each now.
    pub addresses: Vec<(Prefix, bool)>,
    /// What an operator told it, in words ("yielded, 4:10 left").
    pub overridden: Option<String>,
}

/// A service in `Status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLine {
    /// Name.
    pub name: Name,
    /// Transport.
    pub protocol: Protocol,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Scheduler.
    pub scheduler: String,
    /// Whether the kernel has it as wanted.
    pub in_kernel: bool,
    /// Real servers; the sorry server, when in use, is the last.
    pub servers: Vec<ServerLine>,
    /// What an operator made of it, in words ("disabled", "sorry").
    pub overridden: Option<String>,
}

/// A real server in `Status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerLine {
    /// Address and port.
    pub endpoint: Endpoint,
    /// Configured weight.
    pub weight: u16,
    /// Health.
    pub health: HealthWord,
    /// Last failure or latency, in words.
    pub detail: String,
    /// Whether it is the sorry server.
    pub sorry: bool,
    /// Active connections as the kernel counts them.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// What an operator made of it, in words ("draining 12 connections, 4:10 left", "halted").
    pub overridden: Option<String>,
    /// Time in this state of health, as far as this agent knows; `None` without a check.
    pub since: Option<Duration>,
    /// How long the last answer to a probe took; `None` when the last probe failed, or without a check.
    pub latency: Option<Duration>,
}

/// Health of a real server in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthWord {
    /// No check configured: always used.
    Unchecked,
    /// Not probed enough yet.
    Pending,
    /// In use.
    Up,
    /// Out of use.
    Down,
}

/// How late adverts left after their deadline, since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lateness {
    /// Adverts sent.
    pub sent: u64,
    /// Mean.
    pub mean: Duration,
    /// Worst.
    pub worst: Duration,
}

/// What the other threads know, for the picture that `Node::status` draws.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Host name as the kernel has it; shown when the configuration names none.
    pub hostname: String,
    /// Version of the binary.
    pub version: String,
    /// Time since the agent started.
    pub agent_uptime: Duration,
    /// Time since the box booted.
    pub box_uptime: Duration,
    /// How late our adverts left.
    pub lateness: Lateness,
    /// Adverts counted.
    pub adverts: Statistics,
    /// The kernel as last read.
    pub kernel: KernelView,
}

/// The kernel as last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelView {
    /// Every address, ours or not.
    pub addresses: HashSet<AddressKey>,
    /// The IPVS table.
    pub ipvs: Ipvs,
    /// Connections of each destination.
    pub connections: HashMap<(ServiceKey, DestinationKey), Connections>,
    /// What could not be brought about, with reasons.
    pub problems: Vec<String>,
    /// How often found differed from wanted without our doing, and was repaired.
    pub repairs: u64,
}

/// Connections of a destination as the kernel counts them (`IPVS_DEST_ATTR_ACTIVE_CONNS`, `_INACT_CONNS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Established.
    pub active: u32,
    /// In any other state.
    pub inactive: u32,
}
