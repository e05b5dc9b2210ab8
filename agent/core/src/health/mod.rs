//! When to probe a real server and what its answers mean: rise and fall, and which servers a service
//! may use.
//!
//! One probe serves every service that has the same backend and check (`Target`). The prober process knows
//! nothing of this: it is told to run one probe now and answers with its outcome.

mod monitor;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::config::model::{CheckKind, Start, VirtualServer};
use crate::net::Endpoint;

pub use monitor::{Change, Known, Monitor, Snapshot, Standing, View};

/// Identifies one run of a probe between agent and prober.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProbeId(pub u64);

/// Agent to prober: run this now.
///
/// Append new variants and fields at the end only: the index is the wire format (postcard).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Comes back in the outcome.
    pub id: ProbeId,
    /// Where to.
    pub target: SocketAddr,
    /// What to do there.
    pub kind: ProbeKind,
    /// One deadline for the whole probe, from its start.
    pub timeout: Duration,
}

/// What a probe does. Append only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProbeKind {
    /// Complete a TCP handshake, then close with RST so that no TIME_WAIT is left behind.
    TcpConnect,
}

/// Prober to agent: how a probe ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOutcome {
    /// Of the probe.
    pub id: ProbeId,
    /// Time from start to verdict.
    pub took: Duration,
    /// The verdict.
    pub verdict: Verdict,
}

/// Verdict of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The server answered as it should.
    Up,
    /// It did not; the reason is for the operator ("connection refused", "no answer within 1s").
    Down(String),
}

/// A backend and the check of it: what one series of probes is about. Services that agree in all of it share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Where the probes go.
    pub address: SocketAddr,
    /// What they do.
    pub kind: ProbeKind,
    /// Time between the starts of two probes.
    pub interval: Duration,
    /// Deadline of each.
    pub timeout: Duration,
    /// Successes in a row that bring it in, at least 1.
    pub rise: u8,
    /// Failures in a row that take it out, at least 1.
    pub fall: u8,
    /// Whether it is in before its first probe.
    pub start: Start,
}

impl Target {
    /// What is probed for this real server (or sorry server) of a service; `None` without a check.
    #[must_use]
    pub fn of(server: &VirtualServer, endpoint: &Endpoint) -> Option<Self> {
        let check = server.check.as_ref()?;
        let kind = match check.kind {
            CheckKind::Tcp => ProbeKind::TcpConnect,
        };
        let port = check.port.unwrap_or(endpoint.port);
        Some(Self {
            address: SocketAddr::new(endpoint.address, port.get()),
            kind,
            interval: check.interval.get(),
            timeout: check.timeout.get(),
            rise: check.rise,
            fall: check.fall,
            start: check.start,
        })
    }

    /// Every target of a configuration. Sorry servers are not checked: they are the last resort in any state.
    #[must_use]
    pub fn all(config: &Config) -> BTreeSet<Self> {
        config
            .virtual_server
            .values()
            .flat_map(|server| server.real_server.keys().filter_map(|endpoint| Self::of(server, endpoint)))
            .collect()
    }
}
