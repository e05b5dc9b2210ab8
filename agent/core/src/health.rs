//! When to probe a real server and what its answers mean: rise and fall, and which servers a service
//! may use.
//!
//! One probe serves every service that has the same backend and check (`Target`). The prober process knows
//! nothing of this: it is told to run one probe now and answers with its outcome.

use core::net::SocketAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
