//! Everything that can be looked at: each `show` and `monitor`, and the tools that ask the network (`ping`,
//! `traceroute`, `arping`, `check`).
//!
//! What the agent knows comes from its control socket; what the kernel knows is read here, so that it can be seen
//! when the agent is dead.

pub mod arping;
pub mod check;
pub mod monitor;
pub mod ping;
pub mod status;
pub mod traceroute;

mod alarms;
mod boot;
mod commits;
mod configuration;
mod connections;
pub mod files;
mod health;
pub mod icmp;
mod interfaces;
mod journal;
mod neighbors;
mod netlink;
mod resolve;
mod routes;
mod servers;
mod sync;
mod system;
mod tech;
mod users;
pub mod version;
mod vrrp;

use std::path::Path;

use bascule_core::control::{Reply, Request};
use bascule_core::shell::command::Show;
use bascule_core::shell::report::Report;
use bascule_core::status::Status;
use thiserror::Error;

use self::files::Files;
use crate::control::ControlError;
use crate::people::audit;
use crate::shell::Agent;

pub use self::arping::arping;
pub use self::check::check;
pub use self::connections::{Entry, balances, each as each_connection};
pub use self::monitor::monitor;
pub use self::ping::ping;
#[allow(unused_imports, reason = "for the support bundle")]
pub use self::tech::redact;
pub use self::traceroute::traceroute;
pub use self::users::show as users;

/// What whoever comes to a console is greeted with.
pub fn banner() -> Vec<String> {
    version::banner(&Files::default())
}

/// Why something cannot be shown.
#[derive(Debug, Error)]
pub enum LookError {
    /// The agent does not answer.
    #[error("{what} cannot be shown: {error}. {instead}")]
    NoAgent {
        /// What was to be shown.
        what: &'static str,
        /// Why there is no answer.
        error: ControlError,
        /// What can be shown without it.
        instead: &'static str,
    },
    /// The agent answered, but not with this.
    #[error(
        "{0} cannot be shown: the agent answered another question, so it is of another release than this shell; \
         \"restart agent\" starts the installed one"
    )]
    OtherAnswer(&'static str),
    /// The agent refused.
    #[error("{what} cannot be shown: {}", .lines.join("; "))]
    Refused {
        /// What was to be shown.
        what: &'static str,
        /// Its reasons.
        lines: Vec<String>,
    },
    /// No object of this name.
    #[error("there is no {kind} {name:?}{}", those(.known))]
    Unknown {
        /// Kind of object.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The kernel does not tell.
    #[error("{what} cannot be read: {error}{}{way_out}", if .way_out.is_empty() { "" } else { ": " })]
    Kernel {
        /// What was to be read.
        what: String,
        /// Why not.
        error: String,
        /// What to do about it; may be empty.
        way_out: &'static str,
    },
}

fn those(names: &[String]) -> String {
    if names.is_empty() {
        ": none is configured".to_owned()
    } else {
        format!(": there is {}", names.join(", "))
    }
}

/// What can be shown without an agent, for errors.
const WITHOUT_AGENT: &str = "Without the agent there are: show version, system, alarms, log, interfaces, routes, \
                             neighbors, users, boot, virtual-servers, real-servers, connections, persistence, \
                             sync, slots";

/// Where a box keeps its users.
const STATE_DIR: &str = "/data/state";

/// Answers a `show`. Users and the audit log are those of a box; a shell of another place asks [`users`] and
/// [`audit::report`].
///
/// # Errors
/// When there is nothing to show; the text says why and what can be done.
pub fn show(what: &Show, agent: &dyn Agent) -> Result<Report, LookError> {
    let files = &Files::default();
    match what {
        Show::Status => ask_status("the status", agent).map(|s| Report::new(&s, status::status(&s))),
        Show::Version => Ok(version::show(files)),
        Show::System => Ok(system::show(files)),
        Show::Alarms => Ok(alarms::show(files, agent)),
        Show::Log { lines } => journal::show(*lines, agent),
        Show::Interfaces(name) => interfaces::show(name.as_ref(), files, agent),
        Show::Routes => routes::show(),
        Show::Neighbors => neighbors::show(),
        Show::Users => Ok(users(Path::new(STATE_DIR), Path::new(crate::RUN_DIR))),
        Show::Boot => Ok(boot::show(files)),
        Show::VirtualServers(name) => servers::virtual_servers(name.as_ref(), agent),
        Show::RealServers(name) => servers::real_servers(name.as_ref(), agent),
        Show::HealthChecks => health::show(agent),
        Show::Connections { filter } => connections::connections(filter.as_deref(), files),
        Show::Persistence => connections::persistence(files),
        Show::Vrrp(name) => vrrp::show(name.as_ref(), agent),
        Show::VrrpHistory(name) => vrrp::history(name.as_ref(), agent),
        Show::Sync => sync::show(files),
        Show::Configuration { path, set } => configuration::show(path, *set, agent),
        Show::Commits => commits::show(agent),
        Show::Update => Ok(crate::update::show(Path::new(crate::RUN_DIR), Path::new(crate::STATE_DIR))),
        Show::Slots => boot::slots(files),
        Show::TechSupport => Ok(tech::show(agent)),
        Show::Audit { lines } => Ok(audit::report(Path::new(STATE_DIR), *lines)),
    }
}

fn ask(what: &'static str, agent: &dyn Agent, request: &Request) -> Result<Reply, LookError> {
    match agent.ask(request) {
        Ok(Reply::Refused(lines)) => Err(LookError::Refused { what, lines }),
        Ok(reply) => Ok(reply),
        Err(error) => Err(LookError::NoAgent { what, error, instead: WITHOUT_AGENT }),
    }
}

fn ask_status(what: &'static str, agent: &dyn Agent) -> Result<Status, LookError> {
    match ask(what, agent, &Request::Status)? {
        Reply::Status(status) => Ok(*status),
        _ => Err(LookError::OtherAnswer(what)),
    }
}

fn ask_lines(what: &'static str, agent: &dyn Agent, request: &Request) -> Result<Vec<String>, LookError> {
    match ask(what, agent, request)? {
        Reply::Lines(lines) => Ok(lines),
        _ => Err(LookError::OtherAnswer(what)),
    }
}

#[cfg(test)]
mod testing;
