//! `cargo image run`.

use anyhow::{Result, bail};

/// Arguments of `cargo image run`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs `cargo image run`.
pub fn command(_args: Args) -> Result<()> {
    bail!("`cargo image run` is not there yet")
}
