//! The agent: starts the threads that carry traffic, then drives `Node` on the main thread.
//!
//! | thread | driven by | does |
//! |---|---|---|
//! | real-time | `vrrpd` | virtual routers |
//! | addresses | `kernel` | addresses and announcements, straight from the roles |
//! | IPVS | `kernel` | services, real servers, sync |
//! | main | here | configuration, health, control socket, log |
//!
//! Nothing that is found at the start is removed before it is known what is wanted: addresses wait for the roles,
//! real servers for their health, and both are resumed from what a predecessor left in the run directory.

mod commit;
mod configuration;
mod left;
mod node;
mod operate;
#[cfg(test)]
mod power_tests;
mod session;
mod source;
mod survivor;
mod view;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bascule_core::node::Node;
use thiserror::Error;

pub use self::commit::waits as commit_waits;
pub use self::operate::MAINTENANCE;

use self::commit::Commits;
use self::node::{Agent, Signals};
use self::operate::Maintenance;
use self::source::Source;
use self::survivor::Survivor;
use crate::control::{ControlError, RunDir};
use crate::kernel::{self, KernelError};
use crate::look::version;
use crate::peer::plan::Plan;
use crate::store::files::Disk;
use crate::store::revisions::Revisions;
use crate::sys::monotonic;
use crate::update::stop::{self, Phase};
use crate::vrrpd::{self, VrrpError};
use crate::{init, log, snapshot};

/// Name of the store of revisions in the state directory.
const REVISIONS: &str = "configuration";

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Runs while the configuration file does not exist.
    pub factory: Option<PathBuf>,
    /// What lasts until the next boot: control socket, state of roles and health. Best on a tmpfs.
    pub run_dir: PathBuf,
    /// What lasts longer: the revisions of the configuration. The run directory when not given.
    pub state_dir: Option<PathBuf>,
    /// Whether init started it and starts it again.
    pub supervised: bool,
}

/// Why an agent could not start.
#[derive(Debug, Error)]
pub enum RunError {
    /// The run directory cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// VRRP cannot start.
    #[error(transparent)]
    Vrrp(#[from] VrrpError),
    /// The kernel threads cannot start.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The main thread's runtime cannot start.
    #[error("cannot start the main loop: {0}")]
    Main(#[from] io::Error),
}

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start. A bad configuration is no reason.
pub fn run(options: Options) -> Result<(), RunError> {
    let target = if options.supervised { log::Target::Kmsg } else { log::Target::Stderr };
    log::start(target, "agent");
    tracing::info!(pid = std::process::id(), "Bascule {} starts", version::running());
    let result = start(options);
    if let Err(error) = &result {
        tracing::error!("{error}");
    }
    result
}

fn start(options: Options) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _main = runtime.enter();
        Signals::hear()?
    };
    let run_dir = RunDir::take(&options.run_dir)?;
    let listener = run_dir.bind()?;
    let state_dir = options.state_dir.unwrap_or_else(|| options.run_dir.clone());
    let maintenance = Maintenance::new(&state_dir);
    let store = Revisions::new(Disk, state_dir.join(REVISIONS));
    let source = Source::new(options.config, options.factory, store);
    let boot = snapshot::boot_id()?;
    let failsafe = options.supervised.then(|| init::failsafe_wanted(run_dir.path())).flatten();
    let (commits, first, refused) =
        Commits::start(source, run_dir.path(), &state_dir, boot, failsafe.as_deref());
    let survivor = Survivor::new(run_dir.path(), boot);
    let mut node = Node::resume(survivor.load());
    // The file decides: it is there also after a reboot, and gone only when maintenance was left.
    node.set_maintenance(monotonic(), maintenance.is_kept());
    let trial = run_dir.path().join(init::TRIAL).exists();
    // After its part of an update of the pair it stays behind until it knows the connections.
    node.set_trial(monotonic(), trial || Plan::behind(&state_dir));
    if trial {
        stop::before(Phase::FirstBoot);
    }

    let (vrrp, outflow) = vrrpd::start(node.routers(monotonic(), &first.config), run_dir.path())?;
    vrrp.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let kernel = kernel::start(Arc::clone(&first.config), vrrp.roles(), outflow.announcements, kernel::POLL)?;
    if trial {
        stop::after(Phase::FirstBoot);
    }

    runtime.block_on(async {
        let agent =
            Agent::new(node, vrrp, kernel, commits, survivor, run_dir, maintenance, options.supervised);
        agent.run(signals, listener, (outflow.notices, outflow.changes), first, refused).await
    })?;
    Ok(())
}
