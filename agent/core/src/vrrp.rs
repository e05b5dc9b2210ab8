//! One VRRPv3 virtual router (RFC 9568 section 6).

use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::model::AdvertInterval;
use crate::net::{Family, IfName, Name, Priority, Vrid};

/// What a virtual router is configured to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Name.
    pub name: Name,
    /// Interface of the adverts.
    pub interface: IfName,
    /// Identifier.
    pub vrid: Vrid,
    /// Family of all its addresses.
    pub family: Family,
    /// Priority.
    pub priority: Priority,
    /// Own advertisement interval.
    pub interval: AdvertInterval,
    /// Whether a higher priority preempts.
    pub preempt: bool,
    /// Wait before preempting.
    pub preempt_delay: Duration,
    /// Virtual addresses and the interface of each, in configured order (the order on the wire).
    pub addresses: Vec<(IfName, IpAddr)>,
    /// Send IPv4 checksums without pseudo-header.
    pub checksum_as_v2: bool,
}
