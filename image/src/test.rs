//! `cargo image test`.

use anyhow::{Result, bail};

/// Arguments of `cargo image test`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs `cargo image test`.
pub fn command(_args: Args) -> Result<()> {
    bail!("`cargo image test` is not there yet")
}
