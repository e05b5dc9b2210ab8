//! What an operator tells a running box beside its configuration.
//!
//! Overrides are kept apart from the configuration and shown as what they are. They survive reloads and restarts of
//! the agent; maintenance also survives a reboot.

mod state;
mod words;

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::net::{Endpoint, Name};

pub use state::{Overrides, RouterState, ServerState, ServiceState};
pub use words::clock;

/// A command of an operator that changes what the box does, and not its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// A real server of a service: drain, halt, enable.
    RealServer {
        /// The service.
        service: Name,
        /// Address and port of the real server.
        server: Endpoint,
        /// What is to become of it.
        to: ServerOverride,
    },
    /// A whole service: enable, disable, sorry.
    Service {
        /// The service.
        service: Name,
        /// What is to become of it.
        to: ServiceOverride,
    },
    /// `vrrp yield`: hand the addresses to the other box, which is Master before this one stops answering.
    Yield {
        /// One virtual router; all of the box when not given.
        router: Option<Name>,
        /// How long this box does not preempt; until told otherwise when not given.
        lasting: Option<Duration>,
    },
    /// `vrrp takeover`: become Master, whatever the priorities say.
    Takeover {
        /// One virtual router; all of the box when not given.
        router: Option<Name>,
        /// How long; until told otherwise when not given.
        lasting: Option<Duration>,
    },
    /// Back to what priorities and preemption say.
    Normal {
        /// One virtual router; all of the box when not given.
        router: Option<Name>,
    },
    /// `maintenance enter` (true) and `leave`: the box holds no virtual address and stays so over a reboot.
    Maintenance(bool),
}

/// What an operator made of a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerOverride {
    /// Back to what its configuration and its health say.
    Enable,
    /// Weight 0: it keeps its connections and takes no new ones; halted when they are gone or after the deadline.
    Drain {
        /// Longest wait for its connections; for ever when not given.
        deadline: Option<Duration>,
    },
    /// Out of the table at once: its connections end.
    Halt,
}

/// What an operator made of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceOverride {
    /// Back to what its configuration says.
    Enable,
    /// Out of the kernel: nothing answers.
    Disable,
    /// New connections go to the sorry server, established ones stay where they are.
    Sorry,
}

#[cfg(test)]
mod tests;
