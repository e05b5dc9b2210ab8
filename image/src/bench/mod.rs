//! `cargo image bench`: measurements beside real peers in the same run. Results are printed and kept as JSON
//! under `out/bench/`.

pub mod boot;
pub mod failover;
mod ping;
mod routers;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::host;

/// Arguments of `cargo image bench`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// From the start of process 1 to Backup and to the first service, sizes and memory, beside busybox and keepalived
    Boot(boot::Args),
    /// The outage that a host sees when the master's power is cut, beside keepalived
    Failover(failover::Args),
}

/// Runs `cargo image bench`.
///
/// # Errors
/// A measurement cannot be made.
pub fn command(args: Args) -> Result<()> {
    match args.what {
        What::Boot(args) => boot::command(&args),
        What::Failover(args) => failover::command(&args),
    }
}

/// The machine that the figures come from.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    /// Mean number of running processes over the last minute, at the start.
    load: String,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let model =
            info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: model.unwrap_or(std::env::consts::ARCH).to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// Writes `out/bench/NAME.json`.
fn keep(name: &str, results: &impl Serialize) -> Result<PathBuf> {
    let dir = host::out().join("bench");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join(format!("{name}.json"));
    let mut text = serde_json::to_string_pretty(results)?;
    text.push('\n');
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
