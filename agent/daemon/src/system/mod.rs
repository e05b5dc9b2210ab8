//! What `[system]` configures beside the host name: name servers for the resolver, time servers for the clock.

mod clock;
mod resolver;

use std::path::{Path, PathBuf};

use bascule_core::config::Config;

use self::clock::Timekeeper;

pub use self::clock::{State as ClockState, floor};

/// Brings what is configured about.
#[derive(Debug)]
pub struct System {
    run_dir: PathBuf,
    timekeeper: Option<Timekeeper>,
}

impl System {
    /// Of the box with this run directory. Only an agent that init started keeps the clock: elsewhere it belongs to
    /// the host.
    #[must_use]
    pub fn start(run_dir: &Path, supervised: bool) -> Self {
        let timekeeper = supervised.then(|| Timekeeper::start(run_dir)).and_then(|started| {
            started.inspect_err(|error| tracing::error!("the clock is not kept: {error}")).ok()
        });
        Self { run_dir: run_dir.to_owned(), timekeeper }
    }

    /// Takes on a configuration.
    pub fn configure(&self, config: &Config) {
        if let Err(error) = resolver::write(&self.run_dir, &config.system.name_servers) {
            tracing::error!(key = "resolver", "name servers are not set: {error}");
        }
        if let Some(timekeeper) = &self.timekeeper {
            timekeeper.configure(&config.system.ntp_servers);
        }
    }
}
