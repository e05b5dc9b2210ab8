//! The rest of the box: configuration, roles, health and what is wanted of the kernel.
//!
//! `handle(now, Event) -> Vec<Effect>`; the main thread drives it.

use std::sync::Arc;

use crate::config::Config;
use crate::desired::{Addressing, Ipvs};
use crate::health::{Probe, ProbeOutcome};
use crate::notice::Notice;
use crate::router::Roles;

/// What happens to the box.
#[derive(Clone, Debug)]
pub enum Event {
    /// A checked configuration to run from now on, and where it came from.
    Config(Arc<Config>, String),
    /// The latest roles.
    Roles(Roles),
    /// A probe ended.
    Probed(ProbeOutcome),
    /// The prober process was lost or came back: everything in flight will never be answered.
    ProberRestarted,
    /// The deadline may have passed.
    Timer,
}

/// What the main thread carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Run a probe.
    Probe(Probe),
    /// The latest wanted addresses and routes. The address thread computes the same from the latest roles
    /// (`desired::addressing`) so that a takeover never waits for the main thread.
    Addressing(Addressing),
    /// The latest wanted IPVS table; the newest replaces any that is still waiting.
    Apply(Ipvs),
    /// The virtual routers to run.
    Routers(Vec<crate::vrrp::Settings>),
    /// Something an operator should know.
    Tell(Notice),
}
